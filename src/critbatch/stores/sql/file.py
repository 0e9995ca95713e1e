"""All that is SQLite's alone: where the file lies, how it is opened, what its errors mean."""

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

BUSY_SECONDS = 60
NETWORK_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "fuse.sshfs")


def locate(url_or_path: str | Path) -> Path:
    """Return the absolute path of the file.

    Raises:
        ValueError: If it is a URL of something else.
        IsADirectoryError: If there is a directory.
    """
    name = str(url_or_path)
    if "://" in name:
        scheme, _, name = name.partition(":///")
        if scheme != "sqlite" or not name or "?" in name:
            kind = name if scheme == "sqlite" else f"{scheme.partition(':')[0]}://..."  # no password in a message
            raise ValueError(f"`Sql({kind!r})`: only SQLite files are known. Give a path or sqlite:///path.")
    path = Path(name).expanduser().absolute()
    if path.is_dir():
        example = str(path / "runs.db")
        raise IsADirectoryError(f"`Sql({str(path)!r})`: is a directory. Give a file in it, such as {example!r}.")
    return path


def make_folder(path: Path) -> None:
    """Make the folder of `path` where it is missing.

    Raises:
        OSError: If that is not possible.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OSError(f"`Sql({str(path)!r})`: cannot make its folder: {error}. Give another --store.") from error


def reader(path: Path) -> sa.Engine:
    """Return an engine that never changes the file and starts no transaction that would keep the writer out."""
    # Not mode "ro": what a killed writer left half done has to be rolled back before anyone can read.
    return _engine(path, mode="rw", pragmas=["query_only=ON"], begin="BEGIN")


def writer(path: Path) -> sa.Engine:
    """Return an engine whose transactions are on disk when they end."""
    pragmas = [f"journal_mode={journal(sqlite3.sqlite_version_info)}", "synchronous=FULL"]
    return _engine(path, mode="rwc", pragmas=pragmas, begin="BEGIN IMMEDIATE")


def journal(version: tuple[int, ...]) -> str:
    """Return the journal mode for a version of SQLite.

    Write-ahead logging can lose commits from 3.7.0 to 3.51.2, except where the repair went back into an older line:
    sqlite.org/wal.html#walresetbug.
    """
    fixed = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return "WAL" if fixed else "TRUNCATE"


def damage(connection: sa.Connection) -> str:
    """Return what is wrong with the structure of the file; an empty text if it is sound."""
    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    return "" if found == "ok" else " ".join(str(found).split())


def refusal(path: Path, reason: object) -> str:
    """Return why `path` is refused, and what to do."""
    advice = "Move it away or give another --store."
    return f"`Sql({str(path)!r})`: is not a critbatch store or is damaged: {reason}. {advice}"


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the driver raises into what is wrong with the file and what to do.

    Raises:
        ValueError: If the file is damaged.
        OSError: If it cannot be opened, read or written, or is locked for too long.
        DBAPIError: If the file is not to blame.
    """
    try:
        yield
    except sa.exc.DBAPIError as error:
        code = error.orig.sqlite_errorcode & 0xFF if isinstance(error.orig, sqlite3.DatabaseError) else -1
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR}:
            raise ValueError(refusal(path, error.orig)) from error
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            what = f"another process has kept it locked for {BUSY_SECONDS} s. Stop that process or"
        elif code in {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
            what = f"cannot be opened: {error.orig}. Check the permissions of the file and its folder, or"
        elif code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR}:
            what = f"cannot be read or written: {error.orig}. Free some space on its disk, or"
        else:
            raise
        raise OSError(f"`Sql({str(path)!r})`: {what} give another --store.") from error


def warn_about_network(path: Path) -> None:
    """Warn if `path` lies on a network file system, where SQLite's locks do not hold."""
    mounts = Path("/proc/mounts")
    kind = file_system(path, mounts.read_text()) if mounts.exists() else ""
    if kind in NETWORK_FILE_SYSTEMS:
        message = f"{str(path)!r} lies on a network file system ({kind}), on which SQLite can lose results."
        warnings.warn(f"{message} Give a --store on a local disk.", stacklevel=3)


def file_system(path: Path, mounts: str) -> str:
    """Return the type of the file system that `path` lies on, given the text of /proc/mounts."""
    fields = [line.split(" ") for line in mounts.splitlines()]
    kinds = {Path(field[1].replace("\\040", " ")): field[2] for field in fields}
    return next((kinds[place] for place in (path, *path.parents) if place in kinds), "")


def _engine(path: Path, *, mode: str, pragmas: list[str], begin: str) -> sa.Engine:
    url = sa.URL.create("sqlite", database=f"file:{quote(str(path))}", query={"mode": mode, "uri": "true"})
    engine = sa.create_engine(url)

    @sa.event.listens_for(engine, "connect")
    def _set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None  # the driver begins no transaction: the next listener does
        for pragma in (f"busy_timeout={1000 * BUSY_SECONDS}", *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
