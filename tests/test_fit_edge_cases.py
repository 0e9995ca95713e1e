"""Tables and sweeps that are plausible and nasty: answered without a crash, and without a claim that they cannot carry."""

import dataclasses
import json

import numpy as np
import pytest

from critbatch.advice import recommend
from critbatch.analysis.assemble import Circumstances, assemble
from critbatch.analysis.choice import choice_of
from critbatch.analysis.heights import from_summaries
from critbatch.analysis.logged import fit_steps_to_target, runs_of_curves
from critbatch.analysis.planted import choices_of
from critbatch.analysis.rates import plateau
from critbatch.analysis.target_curve import fit_curve, fit_heights
from critbatch.curves.hyperbola import Hyperbola
from critbatch.estimate import Estimate
from critbatch.finding import to_json
from critbatch.noise import noise_scale
from critbatch.study import RULES
from critbatch.worlds.sweeps import SweepWorld
from tests.made_up_sweeps import World, facts

SIZES = (1, 4, 16, 64, 256, 1024)
HERE = Circumstances("cpu", {}, {"seeds": [0, 1, 2]})


def steps(seeds: int, noise: float = 0.1) -> np.ndarray:
    draw = np.random.default_rng(0)
    return (20 + 2000 / np.array(SIZES))[:, None] * np.exp(draw.normal(0, noise, (len(SIZES), seeds)))


def test_rates_that_are_not_known_have_no_plateau():
    one = choice_of(np.array([np.nan]), np.log(steps(3)[:1]), np.full((1, 3), np.nan))
    assert plateau(one) == ()


def test_a_single_run_among_repeated_ones_gets_the_scatter_of_the_others():
    table = steps(4)
    sizes = [*np.repeat(SIZES[:-1], 4), SIZES[-1]]
    fit = fit_steps_to_target(sizes, [*table[:-1].ravel(), table[-1, 0]])
    assert fit.critical_batch_size.low < 100 < fit.critical_batch_size.high
    assert np.isfinite(fit.s_min.high)


def test_two_seeds_of_which_one_did_not_arrive():
    draw = np.random.default_rng(0)
    world = SweepWorld(seeds=2, budget=2000.0)
    hits = []
    for _ in range(60):
        fit = fit_curve(choices_of(world, draw), Hyperbola())
        json.dumps(to_json(fit), allow_nan=False)
        one = fit.critical_batch_size
        hits.append((one.low or 0) <= world.critical_batch_size <= (one.high or np.inf))
    assert np.mean(hits) >= 0.85


def test_batch_sizes_without_a_standard_deviation_take_that_of_the_others():
    table, hits = steps(3), []
    draw = np.random.default_rng(1)
    for _ in range(150):
        table = (20 + 2000 / np.array(SIZES))[:, None] * np.exp(draw.normal(0, 0.15, (len(SIZES), 8)))
        counts = np.array([8, 1, 1, 1, 1, 1])
        means = np.array([row[:count].mean() for row, count in zip(table, counts, strict=True)])
        spreads = np.array([table[0].std(ddof=1), *[np.nan] * 5])
        found = fit_heights(from_summaries(np.array(SIZES), means, spreads, counts), Hyperbola(), thorough=False)
        one = found.critical_batch_size
        hits.append((one.low or 0) <= 100 <= (one.high or np.inf))
    assert np.mean(hits) >= 0.88


@pytest.mark.parametrize("factor", [4.0, 10.0])
def test_coarse_grids_are_covered_or_said_to_be_coarse(factor):
    draw = np.random.default_rng(2)
    hits, coarse = [], []
    for _ in range(100):
        offset = draw.uniform(-0.5, 0.5, (6, 1))
        place = (np.arange(5) - 2 + offset) * np.log(factor)
        logs = np.log(20 + 2000 / np.array(SIZES))[:, None, None] + 0.3 * place[..., None] ** 2
        logs = logs + draw.normal(0, 0.1, (6, 5, 5))
        choices = {
            size: choice_of(np.exp(place[at]), logs[at], np.full((5, 5), np.nan)) for at, size in enumerate(SIZES)
        }
        one = fit_curve(choices, Hyperbola(), thorough=False).critical_batch_size
        hits.append((one.low or 0) <= 100 <= (one.high or np.inf))
        coarse.append(any(choice.is_coarse() for choice in choices.values()))
    assert np.mean(hits) >= 0.8 or np.mean(coarse) >= 0.9


def test_a_bound_of_a_batch_size_is_not_above_what_was_seen():
    scores = np.log(np.array([[10.0, 10.0, np.inf, np.inf, np.inf]]))
    bounds = np.log(np.array([[np.nan, np.nan, 1000.0, 1000.0, 1000.0]]))
    one = choice_of(np.array([0.1]), scores, bounds)
    assert np.exp(one.least_bound()) == pytest.approx(10**0.4 * 1000**0.6)


def test_runs_that_stop_at_the_target_have_arrived():
    import polars as pl

    looks = np.arange(1.0, 101.0)
    table = pl.DataFrame({
        "run": ["a"] * 100, "batch_size": [8] * 100, "learning_rate": [None] * 100, "seed": ["1"] * 100, "step": looks,
        "metric": looks / 100,
    }, schema_overrides={"learning_rate": pl.Float64})  # fmt: skip
    runs = runs_of_curves(table, 0.995, "above")
    assert runs["reached"].to_list() == [True]
    assert runs["steps"][0] == pytest.approx(99.5, abs=0.5)


def test_one_censored_seed_is_said_where_batch_sizes_are_compared():
    world = World(seeds=3, noise=0.05)
    evidence = world.evidence()
    cut = evidence.records.join(evidence.runs.select("run", "batch_size", "seed"), on="run")
    cut = cut.filter(~((cut["batch_size"] == 64) & (cut["seed"] == 1) & (cut["step"] > 60))).drop("batch_size", "seed")
    broken = dataclasses.replace(evidence, records=cut)
    found = recommend(assemble(broken, facts(), HERE, curve=Hyperbola(), rules=RULES))
    words = found.target_winners["seconds"].words
    assert "not compared, for a seed did not arrive: 64" in words
    assert "every other," not in words
    json.dumps(to_json(found), allow_nan=False)


def test_an_exact_hyperbola_is_not_misspecified():
    fit = fit_steps_to_target(np.repeat(SIZES, 3), np.repeat(20 + 2000 / np.array(SIZES), 3), seed=[0, 1, 2] * 6)
    assert fit.misspecified is None
    flat = fit_steps_to_target(np.repeat(SIZES, 3), [50.0] * 18, seed=[0, 1, 2] * 6)
    assert flat.misspecified is None
    assert flat.critical_batch_size.value is None


def test_the_same_run_twice_is_refused():
    with pytest.raises(ValueError, match="occur twice"):
        fit_steps_to_target([1, 1, 4], [10.0, 12.0, 5.0], seed=[0, 0, 0])


def test_no_noise_is_no_noise_scale():
    found = noise_scale(-np.ones(5) + 0.1 * np.arange(5), np.ones(5))
    assert found.value is None
    assert "not above 0" in found.reason


def test_half_open_intervals_show_their_ends():
    half = Estimate(1.62, None, 3.2, 0.95, 5, "", "m", "d")
    assert half.brief() == "1.62 [open, 3.2]"
    assert Estimate.missing("r", unit="", definition="d", low=5.0, high=9.0).brief() == "between 5 and 9"
