"""Winners: told apart when they are apart, and hardly ever when they are not."""

import numpy as np
import pytest

from critbatch.analysis.comparison import fewest, most


def test_on_pure_noise_a_winner_is_hardly_ever_declared():
    draw = np.random.default_rng(0)
    declared = 0
    for _ in range(1000):
        values = {size: draw.normal(0.95, 0.01, 5) for size in (1, 4, 16, 64, 256, 1024)}
        declared += not most(values, better="above", unit="accuracy", definition="made up").tied
    # 5% is allowed; picking the best first and comparing it with all others is what Bonferroni pays for
    assert declared <= 50


def test_a_clear_winner_is_declared_and_its_lead_is_paired():
    draw = np.random.default_rng(1)
    common = draw.normal(0, 0.5, 8)
    values = {4: 0.9 + common, 64: 0.95 + common + draw.normal(0, 0.001, 8), 1024: 0.9 + common}
    found = most(values, better="above", unit="accuracy", definition="made up")
    assert (found.batch_size, found.tied) == (64, ())
    assert found.advantage.low < 0.05 < found.advantage.high
    assert found.advantage.high - found.advantage.low < 0.01
    assert found.words == "batch size 64 is better than every other"


def test_below_is_better_when_said():
    values = {1: np.array([3.0, 3.1]), 2: np.array([1.0, 1.1])}
    assert most(values, better="below", unit="loss", definition="made up").batch_size == 2


def test_costs_are_compared_as_ratios():
    values = {1: np.array([100.0, 110.0, 90.0]), 8: np.array([50.0, 55.0, 45.0])}
    found = fewest(values, definition="seconds to target")
    assert found.batch_size == 8
    assert found.advantage.value == pytest.approx(2.0)
    assert found.advantage.unit == "ratio"


def test_one_batch_size_has_nobody_to_beat():
    found = most({8: np.ones(3)}, better="above", unit="accuracy", definition="made up")
    assert found.batch_size is None
    assert "at least 2 batch sizes" in found.words


def test_with_one_seed_everybody_is_tied():
    values = {size: np.array([float(size)]) for size in (1, 2, 3)}
    found = most(values, better="above", unit="accuracy", definition="made up")
    assert (found.batch_size, found.tied) == (3, (1, 2))
    assert found.advantage.low is None
