"""What is read of the solutions at each batch size."""

import json
import math

import numpy as np
import polars as pl
import pytest

from critbatch.analysis.solutions import MEASURES, solutions
from critbatch.budgets.epochs import Epochs
from critbatch.design import END_MEASUREMENTS, Design
from critbatch.job import run
from critbatch.optimizers.adam import Adam
from critbatch.record import Evidence
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.schedules.constant import Constant
from critbatch.tasks.digits import task as digits
from tests.problems import blob_task


def test_nothing_where_nothing_was_measured(tmp_path):
    result = run(
        blob_task(), batch_sizes=[8], learning_rates=[0.1], seeds=1, confirm=False, budget=Epochs(1), progress=False
    )
    assert solutions(result.evidence) == ()
    assert result.to_json()["solutions"] == []


def test_geometric_means_over_seeds_of_the_last_look_that_has_them(tmp_path):
    result = run(
        blob_task(), batch_sizes=[8, 32], learning_rates=[0.1], seeds=3, confirm=False, budget=Epochs(2), minima=True,
        progress=False, out=tmp_path,
    )  # fmt: skip
    found = {(one.measure, one.batch_size): one for one in result.finding.solutions}
    names = {name: quantity for name, _, _, quantity, _ in MEASURES}
    runs = result.evidence.runs.filter(pl.col("measurements").str.contains("KeskarSharpness"))
    assert sorted(runs["batch_size"].to_list()) == [8, 8, 8, 32, 32, 32]
    for (name, size), one in found.items():
        ids = runs.filter(pl.col("batch_size") == size)["run"].to_list()
        some = result.evidence.records.filter(pl.col("run").is_in(ids) & (pl.col("quantity") == names[name]))
        last = [some.filter(pl.col("run") == each).sort("step")["value"][-1] for each in ids]
        kept = [value for value in last if math.isfinite(value) and value > 0]
        assert one.value.value == pytest.approx(math.exp(np.mean(np.log(kept))), rel=1e-9), name
        assert one.value.count == len(kept)
    assert {one.measure for one in found.values() if one.invariant} == {"adaptive sharpness", "training loss there"}
    json.dumps(result.to_json(), allow_nan=False)


def design(**changes) -> Design:
    known = {"batch_sizes": (4, 16, 64), "seeds": (0, 1), "budget": Epochs(3), "optimizer": Adam(),
             "schedule": Constant(), "sampling": Reshuffle(), "learning_rates": (0.1,)}  # fmt: skip
    return Design(**(known | changes))


def test_the_line_goes_from_the_smallest_batch_of_sixteen_or_more():
    task = digits()
    plan = design(minima=True).ends(task, {4: 0.1, 16: 0.2, 64: 0.3})
    assert len(plan) == 6
    for one in plan.runs:
        assert one.measurements[: len(END_MEASUREMENTS)] == END_MEASUREMENTS
        lines = one.measurements[len(END_MEASUREMENTS) :]
        assert len(lines) == (one.batch_size == 64)
        for line in lines:
            assert (line.batch_size, line.learning_rate, line.epochs, line.optimizer) == (16, 0.2, 3, Adam())


def test_solutions_are_counted_as_runs():
    assert design(minima=True).size()[0] - design().size()[0] == 3 * 2


def test_a_value_of_zero_is_not_averaged_but_told(tmp_path):
    result = run(
        blob_task(),
        batch_sizes=[8],
        learning_rates=[0.1],
        seeds=2,
        confirm=False,
        budget=Epochs(1),
        minima=True,
        progress=False,
    )
    records = result.evidence.records.with_columns(
        pl.when(pl.col("quantity") == "hessian_largest_eigenvalue").then(0.0).otherwise(pl.col("value")).alias("value")
    )
    found = {one.measure: one.value for one in solutions(Evidence(result.evidence.runs, records))}
    assert found["largest Hessian eigenvalue"].value is None
    assert "no run" in (found["largest Hessian eigenvalue"].reason or "")
    assert found["adaptive sharpness"].value is not None
