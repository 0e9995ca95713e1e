"""What the judge of H2 reads where: at a common training loss, between sparse measurements; and the mediation part."""

import numpy as np
import pytest

from critbatch.analysis.grid import Grid, Track
from critbatch.bed import Bed
from critbatch.claim import Outcome
from critbatch.claims.hypothesis_redundancy import (
    Redundancy,
    arrival,
    at_step_of,
    bed_rates,
    common_loss,
    explains_the_gap,
)
from critbatch.record import Ending

X = np.log2([4.0, 16.0, 64.0, 256.0, 1024.0, 2000.0])
STEPS = np.array([0.0, *np.unique(np.round(10 ** (np.arange(76) / 25)))])


def track(scale: float = 1.0, ending: Ending = Ending.BUDGET) -> Track:
    """Return a run with loss scale/(1 + steps) that counted its steps, in logarithms, at few looks."""
    counted = np.where(np.arange(len(STEPS)) % 7 == 0, np.log1p(STEPS), np.nan)
    return Track(ending, STEPS, STEPS, STEPS, {"train_loss": scale / (1 + STEPS), "counted": counted})


def test_a_sparse_quantity_is_read_where_the_loss_is():
    read = at_step_of(arrival(0.02))
    # 1/(1 + steps) = 0.02 after 49 steps
    assert read("counted")(track()) == pytest.approx(np.log(50), abs=0.01)
    assert read("train_loss")(track()) == pytest.approx(0.02, rel=0.01)
    assert np.isnan(read("counted")(track(scale=100)))
    assert np.isnan(read("counted")(track(ending=Ending.DIVERGED)))
    assert np.isnan(read("nothing")(track()))


def test_nothing_is_read_beyond_the_last_measurement():
    one = track()
    one.values["counted"][STEPS > 40] = np.nan
    assert np.isnan(at_step_of(arrival(0.02))("counted")(one))


def test_batch_sizes_are_compared_at_the_lowest_loss_that_all_reached():
    runs = {4: {0.1: 1.0, 0.2: 0.5}, 16: {0.1: 4.0, 0.2: 2.0}, 64: {0.1: np.nan, 0.2: np.nan}}
    arranged = {
        size: {
            rate: {seed: track(scale * (1 + seed)) if scale > 0 else track(ending=Ending.DIVERGED) for seed in (0, 1)}
            for rate, scale in rates.items()
        }
        for size, rates in runs.items()
    }
    grid = Grid(Bed().facts(), (0, 1), arranged)
    level = common_loss(grid)
    assert 4 / 1001 < level < 4 / 600  # batch 16, rate 0.2, the slower seed; some looks before the end
    for size in (4, 16):
        assert np.isfinite(arrival(level)(arranged[size][0.2][1]))
    assert common_loss(Grid(Bed().facts(), (), {})) == 0


def test_rates_of_the_bed_start_at_the_linear_rule_and_end_at_1():
    for size in (4, 64, 1024, 2000):
        rates = bed_rates(size, "full")
        assert rates[0] == pytest.approx(size / 3000)
        assert rates[1] / rates[0] == pytest.approx(rates[2] / rates[1])
        assert rates[1] / rates[0] < 4.0001
        assert rates[2] <= 1 + 1e-9


def mediated(direct: float, *, noise: float = 0.01, seeds: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Return gaps and ranks where the rank carries an effect of 0.02 per doubling and the rest comes besides."""
    draw = np.random.default_rng(0)
    ranks = 40 - 2 * X + draw.normal(size=(seeds, len(X))) + 3 * draw.normal(size=(seeds, 1))
    gaps = 0.01 * (40 - ranks) + direct * X + noise * draw.normal(size=ranks.shape)
    return gaps, ranks


@pytest.mark.parametrize(
    ("direct", "outcome"),
    [(0.0, Outcome.SUPPORTED), (0.005, Outcome.SUPPORTED), (0.2, Outcome.REFUTED), (-0.05, Outcome.INCONCLUSIVE)],
)
def test_how_much_the_rank_explains(direct, outcome):
    """0.02 of 0.02 or 0.025 is 30 % and more; 0.02 of 0.22 is not; a gap that falls leaves nothing to explain."""
    part = explains_the_gap(X, *mediated(direct))
    assert part.outcome is outcome
    if part.effect.value is not None:
        assert part.effect.value == pytest.approx(0.7 * (0.02 + direct) - direct, abs=0.004)


def test_missing_cells_and_few_seeds_say_so():
    gaps, ranks = mediated(0.0)
    gaps[:, 1], ranks[0, 3] = np.nan, np.nan
    assert explains_the_gap(X, gaps, ranks).outcome is Outcome.SUPPORTED
    few = explains_the_gap(X, gaps[:2], ranks[:2])
    assert few.outcome is Outcome.INCONCLUSIVE
    assert few.effect.reason


def test_a_task_of_ones_own_needs_no_loss_that_was_fixed_for_the_bed():
    facts = Bed(train=100).facts()
    own = Redundancy().arms("full", {"main": facts.__class__(**{**vars(facts), "is_bed": False})})
    assert set(own) == {"plain"}
    assert {run.target for run in own["plain"].runs} == {None}
    assert {run.target.value for run in Redundancy().arms("full", {"main": facts})["plain"].runs} == {0.05}
