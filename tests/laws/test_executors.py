"""What every executor promises, for all files of `executors/`."""

import multiprocessing
import os

import pytest

from critbatch import catalog
from critbatch.executor import Executor
from critbatch.executors.processes import Processes
from critbatch.executors.serial import Serial

from ..executors.work import Traveller, make_note, multiply, process_of, refuse

EXECUTORS: dict[str, Executor] = {"serial": Serial(), "processes": Processes(workers=2)}


@pytest.fixture(params=catalog.names("executors"))
def executor(request: pytest.FixtureRequest) -> Executor:
    return EXECUTORS[request.param]


@pytest.mark.parametrize("items", [list(range(9)), [5, 0, 7], [3], []], ids=str)
def test_every_item_comes_back_once_with_its_result(executor, items):
    found = list(executor.map(multiply, 10, items))
    assert sorted(found) == sorted((item, 10 * item) for item in items)


def test_an_item_that_is_there_twice_comes_back_twice(executor):
    assert list(executor.map(multiply, 10, [1, 1, 1])) == [(1, 10)] * 3


def test_what_the_function_raises_is_raised_here(executor):
    with pytest.raises(ValueError, match="item 3 is refused"):
        list(executor.map(refuse, 3, range(6)))
    assert multiprocessing.active_children() == []


def test_what_is_shared_is_packed_once_and_unpacked_once_a_worker(executor, tmp_path):
    traveller = Traveller(tmp_path / "diary")
    workers = {str(process) for _, process in executor.map(process_of, traveller, range(8))}
    assert traveller.packed <= 1
    assert sorted(traveller.visits()) == sorted(workers - {str(os.getpid())})


def test_closing_early_stops_the_work(executor, tmp_path):
    diary = tmp_path / "diary"
    outcomes = executor.map(make_note, diary, range(1000))
    first, _ = next(outcomes)
    assert first in (0, 1)
    outcomes.close()
    assert multiprocessing.active_children() == []
    assert len(diary.read_text().split()) < 10
    assert list(outcomes) == []


def test_workers_tell_how_many_items_are_worked_on_at_once(executor):
    assert executor.workers >= 1


def test_as_a_context_it_gives_the_same_results_call_after_call_and_leaves_nothing_behind(executor):
    with executor as entered:
        assert entered is executor
        for factor in (10, 10, 20):
            assert sorted(executor.map(multiply, factor, range(5))) == [(item, factor * item) for item in range(5)]
    assert multiprocessing.active_children() == []
    assert sorted(executor.map(multiply, 10, [1, 2])) == [(1, 10), (2, 20)]
    assert multiprocessing.active_children() == []


def test_an_error_passes_through_the_context(executor):
    with pytest.raises(ZeroDivisionError), executor:
        raise ZeroDivisionError
    assert multiprocessing.active_children() == []
