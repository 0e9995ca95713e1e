"""Winners: told apart when they are apart, called equivalent when they are, and hardly ever told apart on noise."""

import numpy as np
import pytest

from critbatch.analysis.comparison import equivalence_margin, fewest, most
from tests.made_up_sweeps import facts


def test_on_pure_noise_a_winner_is_hardly_ever_declared():
    draw = np.random.default_rng(0)
    declared = 0
    for _ in range(1000):
        values = {size: draw.normal(0.95, 0.01, 5) for size in (1, 4, 16, 64, 256, 1024)}
        found = most(values, better="above", unit="accuracy", definition="made up", margin=0.01)
        declared += any(one.words == "better" for one in found.rivals)
    # 5% is allowed for a study that calls any batch size better than any other: Holm over all pairs pays for it
    assert declared <= 50


def test_a_clear_winner_is_declared_and_its_lead_is_paired():
    draw = np.random.default_rng(1)
    common = draw.normal(0, 0.5, 8)
    values = {4: 0.9 + common, 64: 0.95 + common + draw.normal(0, 0.001, 8), 1024: 0.9 + common}
    found = most(values, better="above", unit="accuracy", definition="made up", margin=0.01)
    assert (found.batch_size, found.tied) == (64, ())
    assert found.advantage.low < 0.05 < found.advantage.high
    assert found.advantage.high - found.advantage.low < 0.01
    assert found.words == "batch size 64 is better than every other"


def test_below_is_better_when_said():
    values = {1: np.array([3.0, 3.1]), 2: np.array([1.0, 1.1])}
    assert most(values, better="below", unit="loss", definition="made up", margin=0.01).batch_size == 2


def test_costs_are_compared_as_ratios():
    values = {1: np.array([100.0, 110.0, 90.0]), 8: np.array([50.0, 55.0, 45.0])}
    found = fewest(values, definition="seconds to target")
    assert found.batch_size == 8
    assert found.advantage.value == pytest.approx(2.0)
    assert found.advantage.unit == "ratio"


def test_one_batch_size_has_nobody_to_beat():
    found = most({8: np.ones(3)}, better="above", unit="accuracy", definition="made up", margin=0.01)
    assert found.batch_size is None
    assert "at least 2 batch sizes" in found.words


def test_with_one_seed_everybody_is_tied():
    values = {size: np.array([float(size)]) for size in (1, 2, 3)}
    found = most(values, better="above", unit="accuracy", definition="made up", margin=0.01)
    assert (found.batch_size, found.tied) == (3, (1, 2))
    assert found.advantage.low is None


def test_batch_sizes_within_the_margin_are_called_equivalent():
    draw = np.random.default_rng(2)
    common = draw.normal(0.95, 0.01, 8)
    values = {size: common + draw.normal(0, 0.0005, 8) for size in (1, 8)}
    found = most(values, better="above", unit="accuracy", definition="made up", margin=0.01)
    assert found.rivals[0].words == "equivalent within 0.01 accuracy"
    assert "equivalent to" in found.words
    assert found.rivals[0].equivalence_p < 0.05
    close = most(values, better="above", unit="accuracy", definition="made up", margin=0.00001)
    assert close.rivals[0].words != "equivalent within 1e-05 accuracy"


def test_every_test_has_a_name_and_a_number():
    draw = np.random.default_rng(3)
    values = {size: draw.normal(0.9 + 0.05 * (size == 1), 0.005, 8) for size in (1, 8, 64)}
    found = most(values, better="above", unit="accuracy", definition="made up", margin=0.01)
    assert found.words == "batch size 1 is better than every other"
    for one in found.rivals:
        assert one.bootstrap.low < one.difference.value < one.bootstrap.high
        assert one.t_p <= one.holm_p <= 0.05
        assert one.sign_p == pytest.approx(2 / 2**8)
        assert 0 < one.detectable < 0.05


def test_the_margin_is_fixed_by_the_task_and_not_by_the_data():
    assert equivalence_margin(facts()) == (0.01, False)
    assert equivalence_margin(facts(test_size=10_000)) == (0.005, False)
    assert equivalence_margin(facts(metric="loss", better="below")) == (0.02, True)
    assert equivalence_margin(facts(equivalence_margin=0.003)) == (0.003, False)
