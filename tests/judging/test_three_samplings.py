"""Numbers that pair by seed, and the three samplings side by side."""

import numpy as np
import pytest

from critbatch.analysis.grid import Grid, Track
from critbatch.bed import Bed
from critbatch.claim import Outcome
from critbatch.claims.hypothesis_correlation import Correlation
from critbatch.judging.pairs import differences, stacked, tuned_by_seed
from critbatch.judging.reading import at_end
from critbatch.judging.three_samplings import PARTITIONED, RESHUFFLED, WITH, Samplings, sampling_arms, sampling_bed
from critbatch.judging.worlds import exhibit_from
from critbatch.record import Ending


def track(value: float) -> Track:
    steps = np.arange(5.0)
    return Track(
        Ending.BUDGET if np.isfinite(value) else Ending.DIVERGED, steps, steps, steps, {"loss": steps * 0 + value}
    )


def test_seeds_that_only_one_arm_has_are_left_out_of_pairs():
    assert differences({0: 1.0, 1: 5.0, 3: 2.0}, {3: 1.5, 0: 0.25, 7: 9.0}).tolist() == [0.75, 0.5]
    assert len(differences({}, {1: 2.0})) == 0
    table = stacked({4.0: {0: 1.0}, 16.0: {0: 2.0, 2: 3.0}})
    assert table.shape == (2, 2)
    assert np.isnan(table[1, 0])
    assert table[0].tolist() == [1, 2]
    assert stacked({4.0: {}}).shape == (0, 1)


def test_what_no_rate_trained_has_no_seed_and_a_batch_size_that_is_not_there_has_none():
    rows = {0.1: {0: track(0.5), 1: track(0.7), 2: track(0.6)}, 1.0: {0: track(np.nan), 1: track(0.1), 2: track(0.1)}}
    grid = Grid(Bed().facts(), (0, 1, 2), {16: rows})
    # for seed 0 the others prefer rate 1, at which it diverged
    assert tuned_by_seed(grid, 16, score=at_end("loss")) == {1: 0.7, 2: 0.6}
    assert tuned_by_seed(grid, 64, score=at_end("loss")) == {}


def test_the_samplings_are_asked_for_at_the_same_sizes_rates_and_seeds():
    facts = sampling_bed("full").facts()
    arms = sampling_arms(facts, "full")
    cells = [
        {(run.batch_size, run.learning_rate, run.seed) for run in arms[arm].runs}
        for arm in (WITH, RESHUFFLED, PARTITIONED)
    ]
    assert cells[0] == cells[1] == cells[2]
    assert {size for size, _, _ in cells[0]} == {50, 125, 250, 500}
    kinds = [{type(run.sampling).__name__ for run in arms[arm].runs} for arm in (WITH, RESHUFFLED, PARTITIONED)]
    assert kinds == [{"WithReplacement"}, {"Reshuffle"}, {"Partition"}]


@pytest.mark.parametrize(("gain", "outcome"), [(0.004, Outcome.SUPPORTED), (-0.004, Outcome.REFUTED)])
def test_a_lead_that_grows_with_the_batch_is_found_with_its_sign(gain, outcome):
    claim = Correlation()
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    draw = np.random.default_rng(0)

    def imagined(arm, run, looks):
        test = 0.8 + (gain * np.log2(run.batch_size / 50) if arm == WITH else 0.0) + 0.001 * draw.normal()
        return {"train_loss": 1.0, "validation_accuracy": test, "test_accuracy": test}

    found = Samplings(exhibit_from(claim, facts, "full", imagined))
    assert found.sizes == [50, 125, 250, 500]
    part = found.trend()
    assert part.outcome is outcome
    assert part.effect.value == pytest.approx(gain, abs=0.0007)
    assert found.whole_set().effect.value == pytest.approx(gain * np.log2(10), abs=0.002)
