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


@given(KEYS, st.integers(1, 5), st.floats(0.0, 1.0))
def test_a_group_of_more_than_one_costs_no_more_than_the_dearest(keys, most, dearest):
    runs = made(keys)
    groups = cohorts(runs, most, cost, dearest=dearest)
    assert sorted(run.id for group in groups for run in group) == sorted(run.id for run in runs)
    for group in groups:
        assert 1 <= len(group) <= most
        assert len(group) == 1 or sum(map(cost, group)) <= dearest * (1 + 1e-9)  # a sum of floats
    costs = [sum(map(cost, group)) for group in groups]
    assert costs == sorted(costs, reverse=True)


@given(st.integers(1, 40), st.integers(1, 9), st.sampled_from([1.0, 2.5, 4.0, 100.0]))
def test_groups_of_one_kind_are_as_few_as_can_be_and_none_is_larger_than_their_number_needs(count, most, dearest):
    runs = [made_up_run(seed) for seed in range(count)]
    sizes = [len(group) for group in cohorts(runs, most, lambda run: 1.0, dearest=dearest)]
    assert len(sizes) == -(-count // min(most, int(dearest)))
    assert max(sizes) == -(-count // len(sizes))
    assert sorted(sizes, reverse=True)[: len(sizes) - 1] == [max(sizes)] * (len(sizes) - 1)


def test_runs_of_like_cost_and_of_one_seed_stay_together():
    runs = [made_up_run(seed, learning_rate=rate) for rate in (0.1, 0.2) for seed in (1, 0)]
    groups = cohorts(runs, 2, lambda run: 1.0)
    assert [[run.seed for run in group] for group in groups] == [[0, 0], [1, 1]]
    groups = cohorts(runs, 2, lambda run: run.learning_rate, dearest=0.41)
    assert [[run.learning_rate for run in group] for group in groups] == [[0.2, 0.2], [0.1, 0.1]]


def test_runs_that_cost_nothing_are_no_problem():
    assert [
        len(group) for group in cohorts(made([(0, 0.1, 1, "a"), (1, 0.1, 1, "a")]), 5, lambda run: 0.0, dearest=0.0)
    ] == [2]


def test_a_group_of_none_is_refused():
    with pytest.raises(ValueError, match=r"cohorts\(most=0\)`: a group holds at least 1 run"):
        cohorts([], 0, cost)
