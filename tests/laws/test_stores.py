"""What every store promises, for all files of `stores/`."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis.strategies as st
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings

from critbatch import catalog
from critbatch.plan import RunResult
from critbatch.record import RECORD_SCHEMA, RUN_SCHEMA, Ending, Record, record_table
from critbatch.store import Store, Study
from critbatch.stores.memory import Memory
from critbatch.stores.sql import Sql
from critbatch.task import Target

from ..made_up_runs import another_run, broken_result, exactly, made_up_result, made_up_run, trained

OPEN: dict[str, Callable[[Path], Store]] = {
    "memory": lambda folder: Memory(),
    "sql": lambda folder: Sql(folder / "runs.db"),
}
FLOATS = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 5e-324])
WHOLE = st.integers(-(2**63), 2**63 - 1)
RECORDS = st.lists(st.builds(Record, WHOLE, WHOLE, FLOATS | st.none(), st.text(), FLOATS | st.none()), max_size=5)


def signless(runs: pl.DataFrame) -> pl.DataFrame:
    """Return the run table without the sign of a zero, which SQLite drops. Seconds have none."""
    return runs.with_columns(pl.col("seconds") + 0.0)


@pytest.fixture(params=catalog.names("stores"))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with OPEN[request.param](tmp_path) as opened:
        yield opened


def test_the_comparison_of_tables_sees_what_equality_does_not():
    texts = [
        exactly(pl.DataFrame({"value": [value]}, schema={"value": pl.Float64})) for value in (None, math.nan, -0.0, 0.0)
    ]
    assert len(set(texts)) == 4
    assert exactly(pl.DataFrame({"value": [1]})) != exactly(pl.DataFrame({"value": [1.0]}))


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])  # one store, ever new runs
@given(data=st.data())
def test_what_goes_in_comes_out(store, data):
    results = []
    for _ in range(data.draw(st.integers(1, 3))):
        ending, seconds, note = data.draw(st.tuples(st.sampled_from(Ending), FLOATS, st.text()))
        records = record_table(data.draw(RECORDS))
        results.append(RunResult(another_run(), ending, data.draw(WHOLE), data.draw(WHOLE), seconds, records, note))
        if data.draw(st.booleans()):
            object.__setattr__(results[-1], "note", None)  # not by the types, yet no reason to lose the run
    store.add(results)
    for result in results:
        evidence = store.evidence([result.run.id])
        end = {"ending": result.ending.name, "steps": result.steps, "examples": result.examples}
        row = {**result.run.row(), **end, "seconds": result.seconds + 0.0, "note": result.note}
        assert repr(signless(evidence.runs).row(0)) == repr(tuple(row[name] for name in RUN_SCHEMA))
        assert exactly(evidence.records.drop("run")) == exactly(result.records)
        assert set(evidence.records["run"]) <= {result.run.id}


def test_tables_have_their_columns_even_when_empty(store):
    without_records = made_up_result(made_up_run(target=Target("test_loss", 0.5)))
    store.add([without_records])
    for run_ids in ([], ["not there"], [without_records.run.id]):
        evidence = store.evidence(run_ids)
        assert dict(evidence.runs.schema) == RUN_SCHEMA
        assert list(evidence.records.schema.items()) == [("run", RUN_SCHEMA["run"]), *RECORD_SCHEMA.items()]
        assert len(evidence.records) == 0
    assert evidence.runs["target"].to_list() == ['{"direction": "declared", "kind": "Target", "quantity": "test_loss", '
                                                 '"value": 0.5}']  # fmt: skip


def test_rows_come_in_the_order_asked_for_however_many_are_asked_for(store):
    results = [trained(made_up_run(seed)) for seed in range(550)]
    store.add(results)
    asked = [f"unknown {number}" for number in range(30_000)]
    for number, result in enumerate(results):
        asked[(number * 7919) % 30_000] = result.run.id
    known = [run for run in asked if not run.startswith("unknown")]
    evidence = store.evidence([*asked, *known])
    assert evidence.runs["run"].to_list() == known
    assert evidence.records["run"].unique(maintain_order=True).to_list() == known
    assert store.finished(iter(asked)) == set(known)


def test_a_run_that_is_there_stays_as_it_is(store):
    first = trained(made_up_run())
    store.add([first, made_up_result(first.run, Ending.TARGET)])
    before = store.evidence([first.run.id])
    store.add([made_up_result(first.run, Ending.FAILED, note="later"), made_up_result(first.run, values=[1.0])])
    after = store.evidence([first.run.id])
    assert exactly(after.runs) == exactly(before.runs)
    assert exactly(after.records) == exactly(before.records) != exactly(first.records)
    assert after.runs["ending"].to_list() == ["BUDGET"]


@pytest.mark.parametrize("ending", [ending for ending in Ending if ending is not Ending.FAILED])
def test_every_ending_but_failure_needs_no_training(store, ending):
    run = made_up_run()
    store.add([made_up_result(run, ending)])
    assert store.finished([run.id, "not there"]) == {run.id}


@pytest.mark.parametrize("together", [True, False], ids=["in one add", "in three adds"])
def test_a_failure_is_replaced_by_whatever_comes_next(store, together):
    run, bystander = made_up_run(0), made_up_run(1)
    store.add([made_up_result(bystander, note="untouched")])
    results = [made_up_result(run, Ending.FAILED, note=note, values=[1.0]) for note in ("first", "second")]
    steps = [results, [trained(run)]] if not together else [[*results, trained(run)]]
    for step in steps:
        store.add(step)
        if not together and step is results:
            assert store.finished([run.id]) == set()
            assert store.evidence([run.id]).runs["note"].to_list() == ["second"]
    assert store.finished([run.id]) == {run.id}
    evidence = store.evidence([run.id, bystander.id])
    assert evidence.runs["note"].to_list() == ["", "untouched"]
    assert exactly(evidence.records.drop("run")) == exactly(trained(run).records)


def test_results_are_kept_whole_or_not_at_all(store):
    failed, new = made_up_run(0), made_up_run(1)
    store.add([made_up_result(failed, Ending.FAILED, note="as it was")])
    with pytest.raises(ValueError, match=r"records=.*Make it with `record_table`"):
        store.add([trained(failed), broken_result(made_up_run(2)), trained(new)])
    assert store.finished([failed.id, new.id]) == set()
    assert store.evidence([failed.id, new.id]).runs["note"].to_list() == ["as it was"]
    store.add([trained(failed), trained(new)])
    assert store.finished([failed.id, new.id]) == {failed.id, new.id}


def test_adding_nothing_is_harmless(store):
    store.add([])
    assert store.finished([]) == set()


def test_studies_come_back_the_latest_first(store):
    assert store.studies() == []
    first = Study("digits", ("a", "b"), {"plan": {"seeds": [0, 1]}, "note": "ünïcode", "nothing": None})
    second = Study("mnist", (), {"rate": 0.1})
    for study in (first, second):
        store.put_study(study)
    assert store.studies() == [second, first]
    again = Study("digits", tuple(map(str, range(30_000))), {"more": 1e-300})
    store.put_study(again)
    assert store.studies() == [again, second]


def test_a_study_is_kept_as_it_was_when_it_was_put(store):
    description = {"seeds": [0]}
    store.put_study(Study("digits", (), description))
    description["seeds"].append(1)
    assert store.studies() == [Study("digits", (), {"seeds": [0]})]


@pytest.mark.parametrize("name", sorted(OPEN))
def test_closing_twice_is_harmless_to_what_was_kept(name, tmp_path):
    kept = Study("digits", ("a",), {"seeds": [0]})
    store = OPEN[name](tmp_path)
    store.put_study(kept)
    store.close()
    store.close()
    outlives = any(tmp_path.iterdir())
    assert OPEN[name](tmp_path).studies() == ([kept] if outlives else [])
