"""What only a store in a file can get wrong."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from critbatch.record import RUN_SCHEMA
from critbatch.store import Study
from critbatch.stores.sql import Sql, file, tables

from ..coordinator import FORKS, write_groups
from ..made_up_runs import exactly, made_up_result, made_up_run, trained

DAMAGED = r"is not a critbatch store or is damaged: .*\. Move it away or give another --store\."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def filled(path: Path, count: int = 50) -> list[str]:
    results = [trained(made_up_run(seed)) for seed in range(count)]
    with Sql(path) as store:
        store.add(results)
        store.put_study(Study("digits", ("a",), {"b": 1}))
    return [result.run.id for result in results]


def change(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()


def test_what_was_added_is_there_after_reopening(path):
    run_ids = filled(path)
    with Sql(path) as store, Sql(path, read_only=True) as reader:
        assert store.finished(run_ids) == set(run_ids)
        assert exactly(reader.evidence(run_ids).records) == exactly(store.evidence(run_ids).records)
        assert reader.studies() == [Study("digits", ("a",), {"b": 1})]


def test_urls_and_paths_name_the_same_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = tmp_path / "new folder" / "100% of #1?.db"
    run_ids = filled(odd, 1)
    for name in (f"sqlite:///{tmp_path}/a.db", "sqlite:///b.db", "c.db", odd):
        Sql(name).close()
    assert {found.name for found in tmp_path.glob("*.db")} == {"a.db", "b.db", "c.db"}
    with Sql(odd, read_only=True) as store:
        assert store.finished(run_ids) == set(run_ids)


def test_the_bug_that_loses_commits_decides_the_journal():
    broken = [(3, 40, 1), (3, 44, 5), (3, 45, 0), (3, 50, 6), (3, 51, 2), (3, 49, 9), (3, 51, 0)]
    fixed = [(3, 44, 6), (3, 44, 9), (3, 50, 7), (3, 51, 3), (3, 52, 0), (4, 0, 0)]
    assert [file.journal(version) for version in broken] == ["TRUNCATE"] * len(broken)
    assert [file.journal(version) for version in fixed] == ["WAL"] * len(fixed)


def test_connections_are_set_up_as_the_journal_rule_says(path):
    filled(path, 1)
    engine = file.writer(path)
    with engine.begin() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]
    engine.dispose()
    assert found == [file.journal(sqlite3.sqlite_version_info).lower(), 2, 60_000]


def test_version_1_of_the_tables_has_these_columns(path):
    """If this fails, a file that somebody has would no longer fit: write migration 2 and freeze the columns of 1."""
    filled(path, 1)
    connection = sqlite3.connect(path)
    found = {
        table: [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
    }
    connection.close()
    columns = (
        "run task revision batch_size micro_batch_size learning_rate seed optimizer schedule sampling budget target "
        "measurements dtype ending steps examples seconds note"
    )
    assert found == {
        "schema_version": ["version"],
        "run": columns.split(),
        "records": ["run", "block", "checksum"],
        "study": ["name", "place", "run_ids", "description"],
    }
    assert list(RUN_SCHEMA) == columns.split()
    assert tables.LATEST == 1


def test_the_tables_are_portable():
    for table in tables.TABLES.sorted_tables:
        assert str(sa.schema.CreateTable(table).compile(dialect=postgresql.dialect()))


def test_an_error_of_the_database_keeps_nothing(path):
    first, second = made_up_run(0), made_up_run(1)
    too_far = made_up_result(second)
    object.__setattr__(too_far, "steps", 2**70)
    with Sql(path) as store:
        with pytest.raises(OverflowError, match="too large"):
            store.add([trained(first), too_far])
        assert store.evidence([first.id, second.id]).runs.is_empty()


def contents(folder: Path) -> dict[str, bytes]:
    return {found.name: found.read_bytes() for found in folder.iterdir()}


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def scrambled(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xa5" * (len(content) - 8192)
    path.write_bytes(content)


def another_program(path: Path) -> None:
    path.unlink()
    change(path, "CREATE TABLE schema_version (version INTEGER)")


def overwritten(path: Path) -> None:
    path.write_text("These are my notes, not a database. " * 500)


@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("harm", [truncated, scrambled, another_program, overwritten])
def test_a_file_that_is_no_sound_store_is_refused_and_left_alone(path, harm, read_only):
    filled(path)
    harm(path)
    before = contents(path.parent)
    with pytest.raises(ValueError, match=DAMAGED) as refusal:
        Sql(path, read_only=read_only)
    assert "\n" not in str(refusal.value)
    assert contents(path.parent) == before


def test_an_empty_file_becomes_a_store_but_is_none_yet(path):
    path.touch()
    with pytest.raises(ValueError, match=DAMAGED):
        Sql(path, read_only=True)
    assert path.read_bytes() == b""
    filled(path, 1)


@pytest.mark.parametrize("statement", ["UPDATE records SET block = zeroblob(99)", "DELETE FROM records"])
def test_records_that_were_changed_are_not_passed_on(path, statement):
    run_ids = filled(path, 2)
    change(path, statement)
    with Sql(path) as store, pytest.raises(ValueError, match=rf"records of run {run_ids[0]} are not as they were"):
        store.evidence(run_ids)


@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_file_is_refused_and_left_alone(path, read_only):
    filled(path, 1)
    change(path, "INSERT INTO schema_version VALUES (2)")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"newer critbatch \(schema version 2, known up to 1\)\. Upgrade critbatch or"):
        Sql(path, read_only=read_only)
    assert path.read_bytes() == before


def test_places_where_no_file_can_be_are_refused(tmp_path):
    (tmp_path / "a file").touch()
    with pytest.raises(IsADirectoryError, match=r"is a directory\. Give a file in it, such as .*runs\.db"):
        Sql(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"read_only=True\)`: there is no such file\. Check the path"):
        Sql(tmp_path / "missing.db", read_only=True)
    with pytest.raises(OSError, match=r"cannot make its folder: .* Give another --store"):
        Sql(tmp_path / "a file" / "runs.db")
    with pytest.raises(ValueError, match=r"postgresql://\.\.\.'\)`: only SQLite files are known") as refusal:
        Sql("postgresql://me:secret@host/runs")
    assert "secret" not in str(refusal.value)
    assert [found.name for found in tmp_path.iterdir()] == ["a file"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody may write")
def test_a_folder_in_which_nobody_may_write_is_refused():
    with pytest.raises(OSError, match=r"cannot be opened: .* Check the permissions of the file and its folder"):
        Sql("/proc/self/runs.db")


def test_a_store_that_is_only_read_cannot_be_written_to(path):
    filled(path, 1)
    with Sql(path, read_only=True) as store:
        with pytest.raises(ValueError, match=r"read_only=True\)`: cannot be written to\. Open it for writing"):
            store.add([trained(made_up_run(99))])
        with pytest.raises(ValueError, match="cannot be written to"):
            store.put_study(Study("digits", (), {}))


def test_a_store_that_stays_locked_says_so(path, monkeypatch):
    filled(path, 1)
    monkeypatch.setattr(file, "BUSY_SECONDS", 0)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with Sql(path) as store:
        with pytest.raises(OSError, match=r"has kept it locked for 0 s\. Stop that process or give another --store"):
            store.add([trained(made_up_run(99))])
        other.execute("ROLLBACK")
        store.add([trained(made_up_run(99))])
    other.close()


def test_a_reader_sees_whole_cohorts_while_another_process_writes(path):
    Sql(path).close()
    groups = [tuple(made_up_run(seed, batch_size=size) for seed in range(5)) for size in range(1, 31)]
    process = FORKS.Process(target=write_groups, args=(path, groups))
    process.start()
    counts: list[int] = []
    with Sql(path, read_only=True) as reader:
        while not counts or counts[-1] < 150:
            alive = process.is_alive()
            runs = reader.evidence(run.id for group in groups for run in group).runs
            assert set(runs.group_by("batch_size").len()["len"]) <= {5}
            counts.append(len(runs))
            assert alive or counts[-1] == 150
    process.join()
    assert process.exitcode == 0
    assert counts == sorted(counts)


def test_the_file_system_of_a_path_is_that_of_the_deepest_mount():
    mounts = "/dev/a / ext4 rw 0 0\nhost:/x /home nfs4 rw 0 0\nd /home/ann/my\\040disk xfs rw 0 0\n"
    found = [file.file_system(Path(path), mounts) for path in ("/tmp/a", "/home/b/c.db", "/home/ann/my disk/c.db")]
    assert found == ["ext4", "nfs4", "xfs"]
    assert file.file_system(Path("/tmp/a"), "") == ""


@pytest.mark.skipif(not Path("/proc/mounts").exists(), reason="mounts are read from /proc")
def test_a_network_file_system_is_warned_about(path, monkeypatch):
    kind = file.file_system(path, Path("/proc/mounts").read_text())
    monkeypatch.setattr(file, "NETWORK_FILE_SYSTEMS", (kind,))
    with pytest.warns(UserWarning, match=rf"network file system \({kind}\).* Give a --store on a local disk"):
        Sql(path).close()
