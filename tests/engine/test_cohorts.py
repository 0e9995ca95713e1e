"""Runs that can train together do, and the longest groups come first."""

import dataclasses

import hypothesis.strategies as st
import pytest
from hypothesis import given

from critbatch.engine.cohorts import cohorts
from critbatch.plan import Run

from ..made_up_runs import made_up_run

KEYS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from([0.1, 0.2]), st.sampled_from([1, 2, 8]), st.sampled_from("ab")),
    unique=True,
)


def made(keys: list[tuple[int, float, int, str]]) -> list[Run]:
    return [made_up_run(seed, learning_rate=rate, batch_size=size, task=task) for seed, rate, size, task in keys]


def cost(run: Run) -> float:
    return run.learning_rate / run.batch_size


@given(KEYS, st.integers(1, 5))
def test_each_run_is_in_one_group_of_its_like(keys, most):
    runs = made(keys)
    groups = cohorts(runs, most, cost)
    assert sorted(run.id for group in groups for run in group) == sorted(run.id for run in runs)
    for group in groups:
        assert 1 <= len(group) <= most
        assert len({dataclasses.replace(run, learning_rate=1.0, seed=0) for run in group}) == 1
    costs = [sum(map(cost, group)) for group in groups]
    assert costs == sorted(costs, reverse=True)


@given(KEYS, st.integers(1, 5))
def test_there_are_no_more_groups_than_needed(keys, most):
    kinds = [(task, size) for _, _, size, task in keys]
    assert len(cohorts(made(keys), most, cost)) == sum(-(-kinds.count(kind) // most) for kind in set(kinds))


def test_a_group_of_none_is_refused():
    with pytest.raises(ValueError, match=r"cohorts\(most=0\)`: a group holds at least 1 run"):
        cohorts([], 0, cost)
