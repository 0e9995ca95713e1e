"""Workers that die, a parent that dies, and work that cannot be sent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from critbatch.executor import Lost
from critbatch.executors.processes import SMALL, Processes

from . import work

DIED = "its worker process died {} times ({})"


@pytest.fixture
def diary(tmp_path: Path) -> Path:
    return tmp_path / "diary"


def test_an_item_that_always_kills_its_worker_is_lost_and_no_other(diary):
    items = ["a", "b", "always", "c", "d", "e"]
    found = dict(Processes(workers=2).map(work.kill_self, diary, items))
    reason = DIED.format(3, "signal 9; out of memory?")
    assert found == {item: item.upper() for item in items} | {"always": Lost(reason)}
    tries = diary.read_text().split()
    assert tries.count("always") == 4  # once among suspects, then alone
    assert all(tries.count(item) <= 2 for item in "abcde")
    assert multiprocessing.active_children() == []


def test_an_item_that_kills_its_worker_once_succeeds(diary):
    items = ["a", "once", "b", "c"]
    found = dict(Processes(workers=2, attempts=1).map(work.kill_self, diary, items))
    assert found == {item: item.upper() for item in items}


def test_two_that_kill_beside_each_other_are_both_found(diary):
    found = list(Processes(workers=2, attempts=1).map(work.kill_self, diary, ["always", "exit", "a"]))
    killed, left = DIED.format(1, "signal 9; out of memory?"), DIED.format(1, "exit code 7")
    assert sorted(found, key=lambda outcome: outcome[0]) == [("a", "A"), ("always", Lost(killed)), ("exit", Lost(left))]


@pytest.mark.skipif(not Path("/proc/self/syscall").exists(), reason="the moment is found in /proc")
def test_a_worker_killed_while_it_sends_its_result_does_not_stop_the_rest(diary):
    found = dict(Processes(workers=2).map(work.die_while_sending, diary, ["large", "a", "b"]))
    assert found == {"large": b"x" * 20_000_000, "a": b"x", "b": b"x"}


def test_no_more_items_start_than_there_are_workers(diary):
    outcomes = Processes(workers=2).map(work.make_note, diary, range(20))
    for read, _ in enumerate(outcomes, start=1):
        # Those that were read, and at most: finished at the same moment, and refilled before the read.
        assert len(diary.read_text().split()) <= read + 1 + 2


def test_workers_have_one_thread_and_tensors_travel_as_bytes(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    shared, item = torch.ones(1000), torch.ones(1000)
    ((_, found),) = Processes(workers=2).map(work.threads_and_sum, shared, [item])
    assert found == (1, ["1", "1", "1"], 2000.0)
    assert not shared.is_shared()
    assert not item.is_shared()
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "MKL_NUM_THREADS" not in os.environ


def workers_of(executor: Processes, shared: object, items: int = 6) -> set[int]:
    return {process for _, process in executor.map(work.process_of, shared, range(items))}


def children() -> set[int | None]:
    return {process.pid for process in multiprocessing.active_children()}


def test_inside_a_context_workers_go_on_from_one_call_to_the_next():
    with Processes(workers=2) as executor:
        first = workers_of(executor, "work")
        assert len(children()) == 2
        before = children()
        assert first <= before
        assert workers_of(executor, "work") <= before
        assert workers_of(executor, "work", items=1) <= before
        assert list(executor.map(work.process_of, "work", [])) == []
        assert children() == before
    assert children() == set()


def test_small_work_is_taken_up_by_the_workers_that_are_there():
    with Processes(workers=2) as executor:
        workers_of(executor, "work")
        before = children()
        assert workers_of(executor, "other work") <= before
        for factor in (10, 20, 20, 10):
            found = executor.map(work.multiply, factor, range(4))
            assert sorted(found) == [(item, factor * item) for item in range(4)]
        assert children() == before


def test_large_work_starts_workers_anew():
    with Processes(workers=2) as executor:
        first = workers_of(executor, "work")
        second = workers_of(executor, "x" * (SMALL + 1))
        assert first.isdisjoint(second)
        assert second <= children()
        assert first.isdisjoint(children())
        assert workers_of(executor, "work") <= children()


def test_work_that_came_later_is_unpacked_once_a_worker(diary):
    with Processes(workers=2) as executor:
        workers_of(executor, "work")
        traveller = work.Traveller(diary)
        workers = {str(process) for _, process in executor.map(work.process_of, traveller, range(8))}
        assert sorted(traveller.visits()) == sorted(workers)


def test_a_worker_that_dies_at_later_work_is_replaced_by_one_that_knows_it(diary):
    with Processes(workers=2, attempts=1) as executor:
        workers_of(executor, "work")
        found = dict(executor.map(work.kill_self, diary, ["a", "once", "b"]))
        assert found == {"a": "A", "once": "ONCE", "b": "B"}


def test_a_call_that_needs_more_workers_than_there_are_gets_them(diary):
    with Processes(workers=2) as executor:
        first = workers_of(executor, "work", items=1)
        assert len(children()) == 1
        assert dict(executor.map(work.meet, diary, [0, 1])) == {0: 2, 1: 2}
        assert len(children()) == 2
        assert first <= children()


def test_a_worker_killed_between_two_calls_is_replaced():
    with Processes(workers=2) as executor:
        before = workers_of(executor, "work")
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
        found = workers_of(executor, "work")
        assert found
        assert found.isdisjoint(before)
        assert found <= children()
    assert children() == set()


def test_an_item_that_kills_a_kept_worker_is_lost_and_the_next_call_works(diary):
    with Processes(workers=2, attempts=1) as executor:
        first = dict(executor.map(work.kill_self, diary, ["a", "always", "b"]))
        assert first == {"a": "A", "b": "B", "always": Lost(DIED.format(1, "signal 9; out of memory?"))}
        assert dict(executor.map(work.kill_self, diary, ["c", "d"])) == {"c": "C", "d": "D"}
    assert children() == set()


def test_after_a_death_the_rest_is_shared_by_all_workers_again(diary):
    with Processes(workers=2) as executor:
        items = ["once", *"abcdefgh"]
        found = dict(executor.map(work.kill_self_or_take_long, diary, items))
        assert found == {item: item.upper() for item in items}
        assert len(children()) == 2


def test_an_error_or_an_early_end_leaves_no_worker_and_the_next_call_works():
    with Processes(workers=2) as executor:
        with pytest.raises(ValueError, match="item 3 is refused"):
            list(executor.map(work.refuse, 3, range(6)))
        assert children() == set()
        outcomes = executor.map(work.multiply, 10, range(100))
        next(outcomes)
        outcomes.close()
        assert children() == set()
        assert sorted(executor.map(work.multiply, 10, [1, 2])) == [(1, 10), (2, 20)]
    assert children() == set()


def interrupted() -> None:
    with Processes(workers=2) as executor:
        workers_of(executor, "work")
        assert len(children()) == 2
        raise KeyboardInterrupt


def test_an_error_in_the_context_ends_all_workers():
    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert children() == set()


def test_without_a_context_workers_end_with_each_call():
    executor = Processes(workers=2)
    first = workers_of(executor, "work")
    assert children() == set()
    assert workers_of(executor, "work").isdisjoint(first)
    assert children() == set()


def test_an_executor_can_be_entered_again_and_is_still_a_value():
    executor = Processes(workers=2)
    for _ in range(2):
        with executor as entered:
            assert entered is executor
            workers_of(executor, "work", items=1)
        assert children() == set()
    assert executor == Processes(workers=2)
    assert hash(executor) == hash(Processes(workers=2))


SENDABLE = (
    r"Define the model factory at module level in a file and name it as `path/to/file\.py:name`, or use the serial"
)


def test_work_that_cannot_be_pickled_is_refused_before_any_worker_starts():
    executor = Processes(workers=2)
    with pytest.raises(ValueError, match=rf"cannot be sent to worker processes: .*lambda.*\. {SENDABLE}"):
        executor.map(lambda shared, item: item, 0, [1])
    with pytest.raises(ValueError, match=rf"cannot be sent .*lambda.* {SENDABLE}"):
        executor.map(work.multiply, lambda: 0, [1])
    with pytest.raises(ValueError, match=rf"cannot be sent .*generator.* {SENDABLE}"):
        executor.map(work.multiply, 0, [1, (number for number in range(3))])
    assert multiprocessing.active_children() == []


def test_a_function_that_workers_cannot_import_is_named(monkeypatch):
    notebook = types.ModuleType("notebook_of_mine")
    exec("def train(shared, item): return item", notebook.__dict__)
    monkeypatch.setitem(sys.modules, "notebook_of_mine", notebook)
    with pytest.raises(ValueError, match=rf"a worker process cannot load the work: .*notebook_of_mine.* {SENDABLE}"):
        list(Processes(workers=2).map(notebook.train, 0, [1]))


def test_a_result_that_cannot_be_pickled_is_an_error_here():
    with pytest.raises(AttributeError, match="unpicklable_result"):
        list(Processes(workers=2).map(work.unpicklable_result, 0, [1]))


@pytest.mark.parametrize("option", ["workers", "attempts"])
def test_less_than_one_of_anything_is_refused(option):
    with pytest.raises(ValueError, match=rf"Processes\({option}=0\)`: must be at least 1"):
        Processes(**{option: 0})


WORK = """
import os, time
from critbatch.executors.processes import Processes
def wait(shared, item):
    os.write(1, f"{item}\\n".encode())
    time.sleep(60 if item else 0)
def main():
    for item, _ in Processes(workers=2).map(wait, 0, [0, 1, 2, 3]):
        os.write(1, f"back {item}\\n".encode())
"""
GUARDED = WORK + "if __name__ == '__main__': main()"


def started(folder: Path, text: str) -> subprocess.Popen[str]:
    """Start a script in a session of its own. Its workers share its output: the output ends when all are gone."""
    script = folder / "script.py"
    script.write_text(text)
    command = [sys.executable, "-W", "error", str(script)]
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with started(tmp_path, GUARDED) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().strip() for _ in range(4)]
        try:
            assert sorted(lines) == ["0", "1", "2", "back 0"]
            yield process
        finally:
            process.kill()


def test_when_the_parent_is_killed_its_workers_end(busy):
    busy.kill()
    output, _ = busy.communicate(timeout=30)
    assert output == ""


def test_ctrl_c_ends_everything_at_once_and_quietly(busy):
    os.killpg(busy.pid, signal.SIGINT)  # as a terminal does it: to parent and workers alike
    output, errors = busy.communicate(timeout=30)
    assert output == ""
    assert busy.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1
    assert errors.strip().endswith("KeyboardInterrupt")


def test_a_script_that_starts_again_in_every_worker_is_told_what_to_do(tmp_path):
    with started(tmp_path, WORK + "main()") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert (
        errors.strip().splitlines()[-1].startswith("RuntimeError: `Processes`: a worker process died while it started")
    )
    assert "put what it does under `if __name__ == '__main__':`, or use the serial executor." in errors
