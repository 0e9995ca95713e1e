"""The best single step between the rungs of a ladder of learning rates."""

import numpy as np
import pytest

from critbatch.judging.one_step import Changes, best_rates, best_step, gains_by_seed, interpolated

RATES = 2.0 ** np.arange(-8, 3)


def change(rate: np.ndarray, bend: float, cubic: float = 0.0) -> np.ndarray:
    return -rate * (1 - bend * rate / 2 - cubic * rate**2)


@pytest.mark.parametrize("bend", [0.7, 3.0, 41.0])
def test_the_best_rate_of_a_quadratic_loss_is_found_between_the_rungs(bend):
    values = change(RATES, bend)[None]
    found = best_step(RATES, values)
    assert float(found.rate[0]) == pytest.approx(1 / bend, rel=0.02)  # the search has steps of 1.7 %
    gain = -interpolated(RATES, values, found.nodes, found.rate[..., None])[0, 0]
    assert gain == pytest.approx(1 / (2 * bend), rel=1e-3)


def test_a_loss_of_third_degree_is_interpolated_exactly():
    values = change(RATES, 2.0, 0.5)[None]
    at = np.array([[0.2, 0.3]])
    assert interpolated(RATES, values, np.array([[4, 5, 6]]), at)[0] == pytest.approx(
        change(at[0], 2.0, 0.5), rel=1e-12
    )


@pytest.mark.parametrize("bend", [0.01, 1e4])
def test_nothing_is_known_at_the_ends_of_the_ladder(bend):
    assert np.isnan(best_step(RATES, change(RATES, bend)[None]).rate[0])


def test_what_lies_beyond_the_first_rate_that_does_not_help_is_not_looked_at():
    values = change(RATES, 3.0)
    values[-1] = -1e6
    assert float(best_step(RATES, values[None]).rate[0]) == pytest.approx(1 / 3, rel=0.02)


def of_bends(bends: np.ndarray) -> Changes:
    """Return changes of two batch sizes at one look, for bends (seed, size)."""
    values = {size: change(RATES, 1.0)[None, None] * 0 for size in (1, 8)}
    for place, size in enumerate(values):
        values[size] = np.stack([change(RATES, bend)[None] for bend in bends[:, place]])
    return Changes(64, np.array([0.0]), tuple(range(len(bends))), dict.fromkeys(values, RATES), values)


def test_a_seed_gains_at_the_rate_that_is_best_for_the_others():
    bends = np.array([[8.0, 2.0], [2.0, 2.0], [2.0, 2.0]])
    gains = gains_by_seed(of_bends(bends))[:, 0]
    assert gains[0, 0] == pytest.approx(-change(np.array(0.5), 8.0), abs=0.02), (
        "no gain at all: it never chose that rate"
    )
    assert gains[0, 0] < 0 < gains[1, 0] < 0.25
    assert gains[:, 1] == pytest.approx(0.25, rel=1e-3)


def test_all_seeds_together_have_one_best_rate_and_so_have_all_but_one():
    rates, gains = best_rates(of_bends(np.array([[8.0, 2.0], [2.0, 2.0], [2.0, 2.0]])))
    assert rates[:, 0, 0] == pytest.approx([1 / 4, 1 / 2, 1 / 5, 1 / 5], rel=0.02)
    assert gains[:, 0, 0] == pytest.approx([1 / 8, 1 / 4, 1 / 10, 1 / 10], rel=1e-3)
