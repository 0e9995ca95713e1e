"""Results in an SQLite file, through SQLAlchemy Core. What is SQLite's alone stands in `file.py`."""

import io
import json
import math
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, final

import polars as pl
import sqlalchemy as sa
from typing_extensions import override

from ...plan import RunResult
from ...record import RECORD_SCHEMA, RUN_SCHEMA, Ending, Evidence
from ...store import Store, Study, run_row
from . import file
from .tables import LATEST, RECORDS, RUN, STUDY, TABLES, migrate, version

MOST_VARIABLES = 500  # in one statement; every SQLite takes 999


@final
class Sql(Store):
    """Keeps results in one SQLite file.

    Args:
        url_or_path: A path or sqlite:///path. Folders that are missing are made, unless `read_only`.
        read_only: Refuse to write. For looking at results, also while another process writes.

    Raises:
        ValueError: If the file is no store, is damaged, or was written by a newer version. It is left as it is.
        FileNotFoundError: If it is missing and `read_only`.
        OSError: If it is a directory or cannot be opened.
    """

    def __init__(self, url_or_path: str | Path, read_only: bool = False) -> None:
        self._path: Path = file.locate(url_or_path)
        self._writer: sa.Engine | None = None
        self._reader: sa.Engine = file.reader(self._path)
        if read_only and not self._path.exists():
            raise FileNotFoundError(
                f"`Sql({str(self._path)!r}, read_only=True)`: there is no such file. Check the path."
            )
        file.warn_about_network(self._path)
        try:
            found = self._inspect() if self._path.exists() else 0
            if read_only and found == 0:
                raise ValueError(file.refusal(self._path, "it is empty"))
            if not read_only:
                file.make_folder(self._path)
                self._writer = file.writer(self._path)
                if found < LATEST:
                    with self._writing() as connection:
                        migrate(connection)
        except BaseException:
            self.close()
            raise

    @override
    def add(self, results: Sequence[RunResult]) -> None:
        fresh: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        for result in results:
            row = run_row(result)
            if row["run"] not in fresh or fresh[row["run"]][0]["ending"] == Ending.FAILED.name:
                # NaN as NULL, which SQLite would make of it anyway: `seconds` is never null, so it can be read back.
                row["seconds"] = None if math.isnan(row["seconds"]) else row["seconds"]
                fresh[row["run"]] = row, {"run": row["run"], **_packed(result.records)}
        with self._writing() as connection:
            for part in _parts(fresh):
                there = _endings(connection, part)
                failed = [run for run in part if there.get(run) == Ending.FAILED.name]
                new = [run for run in part if run not in there] + failed
                for number, table in enumerate((RUN, RECORDS)):
                    if failed:
                        connection.execute(sa.delete(table).where(table.c.run.in_(failed)))
                    if new:
                        connection.execute(sa.insert(table), [fresh[run][number] for run in new])

    @override
    def finished(self, run_ids: Iterable[str]) -> set[str]:
        with self._reading() as connection:
            endings = [found for part in _parts(run_ids) for found in _endings(connection, part).items()]
        return {run for run, ending in endings if ending != Ending.FAILED.name}

    @override
    def evidence(self, run_ids: Iterable[str]) -> Evidence:
        wanted = list(dict.fromkeys(run_ids))
        rows: dict[str, Any] = {}
        blocks: dict[str, Any] = {}
        with self._reading() as connection:
            for part in _parts(wanted):
                for table, found in ((RUN, rows), (RECORDS, blocks)):
                    found |= {row.run: row for row in connection.execute(sa.select(table).where(table.c.run.in_(part)))}
        known = [run for run in wanted if run in rows]
        runs = pl.DataFrame([tuple(rows[run]) for run in known], schema=RUN_SCHEMA, orient="row")
        none = pl.DataFrame(schema={"run": pl.String, **RECORD_SCHEMA})
        tables = [self._unpacked(run, blocks.get(run)).select(pl.lit(run).alias("run"), pl.all()) for run in known]
        return Evidence(runs.with_columns(pl.col("seconds").fill_null(math.nan)), pl.concat([none, *tables]))

    @override
    def put_study(self, study: Study) -> None:
        run_ids, description = json.dumps(study.run_ids), json.dumps(study.description)
        with self._writing() as connection:
            connection.execute(sa.delete(STUDY).where(STUDY.c.name == study.name))
            last = connection.execute(sa.select(sa.func.max(STUDY.c.place))).scalar() or 0
            row = {"name": study.name, "place": last + 1, "run_ids": run_ids, "description": description}
            connection.execute(sa.insert(STUDY), [row])

    @override
    def studies(self) -> list[Study]:
        with self._reading() as connection:
            rows = connection.execute(sa.select(STUDY).order_by(STUDY.c.place.desc())).all()
        return [Study(row.name, tuple(json.loads(row.run_ids)), json.loads(row.description)) for row in rows]

    @override
    def close(self) -> None:
        self._reader.dispose()
        if self._writer is not None:
            self._writer.dispose()

    def _inspect(self) -> int:
        """Return the version of the file, 0 if it is empty, without changing it.

        Raises:
            ValueError: If it is no store, is damaged, or is too new.
        """
        with self._reading() as connection:
            harm = file.damage(connection)
            found = version(connection)
            tables = set(sa.inspect(connection).get_table_names())
        if found > LATEST:
            raise ValueError(
                f"`Sql({str(self._path)!r})`: was written by a newer critbatch (schema version {found}, known up to "
                f"{LATEST}). Upgrade critbatch or give another --store."
            )
        missing = set(TABLES.tables) - tables
        if tables and missing:
            harm = harm or f"it has no table {min(missing)!r}"
        if harm:
            raise ValueError(file.refusal(self._path, harm))
        return found

    def _unpacked(self, run: str, row: Any) -> pl.DataFrame:
        if row is None or zlib.crc32(row.block) != row.checksum:
            raise ValueError(file.refusal(self._path, f"the records of run {run} are not as they were written"))
        return pl.read_ipc_stream(row.block)

    @contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with file.explained(self._path), self._reader.begin() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        if self._writer is None:
            raise ValueError(f"`Sql({str(self._path)!r}, read_only=True)`: cannot be written to. Open it for writing.")
        with file.explained(self._path), self._writer.begin() as connection:
            yield connection


def _endings(connection: sa.Connection, run_ids: Sequence[str]) -> dict[str, str]:
    rows = connection.execute(sa.select(RUN.c.run, RUN.c.ending).where(RUN.c.run.in_(run_ids)))
    return {row.run: row.ending for row in rows}


def _parts(run_ids: Iterable[str]) -> Iterator[list[str]]:
    known = list(run_ids)
    for start in range(0, len(known), MOST_VARIABLES):
        yield known[start : start + MOST_VARIABLES]


def _packed(records: pl.DataFrame) -> dict[str, Any]:
    buffer = io.BytesIO()
    records.write_ipc_stream(buffer, compression="zstd")
    block = buffer.getvalue()
    return {"block": block, "checksum": zlib.crc32(block)}
