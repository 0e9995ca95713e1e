"""The sentence says no more than the intervals do."""

import pytest

from critbatch.estimate import Estimate
from critbatch.monitor.history import _sentence

NONE = Estimate.missing("nothing was measured", unit="1", definition="alignment")


def between(low: float | None, high: float | None, *, unit: str = "examples") -> Estimate:
    value = 50.0 if low is None or high is None else (low + high) / 2
    return Estimate(value, low, high, 0.95, 20, unit, "made up", "noise scale")


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        (between(100, 200), "below the noise scale"), (between(10, 30), "above the noise scale"),
        (between(40, 90), "about the noise scale"), (between(10, 500), "cannot yet be told"),
        (between(10, None), "cannot yet be told"), (between(None, 500), "cannot yet be told"),
        (Estimate.missing("|G|^2 may be 0", unit="examples", definition="noise scale"), "undetermined: |G|^2 may be 0"),
    ],
)  # fmt: skip
def test_the_batch_size(scale: Estimate, said: str) -> None:
    assert said in _sentence(scale, 64.0, "examples", NONE, is_plain_sgd=True)


@pytest.mark.parametrize(
    ("alignment", "said"),
    [
        (between(0.2, 0.4, unit="1"), "below the best one"), (between(-0.4, -0.2, unit="1"), "above the best one"),
        (between(-0.2, 0.3, unit="1"), "about the best one"), (between(-0.2, 1.7, unit="1"), "cannot be told yet"),
        (NONE, "noise scale"),
    ],
)  # fmt: skip
def test_the_learning_rate(alignment: Estimate, said: str) -> None:
    assert said in _sentence(between(40, 90), 64.0, "examples", alignment, is_plain_sgd=True)
    if alignment is NONE:
        assert "learning rate" not in _sentence(between(40, 90), 64.0, "examples", alignment, is_plain_sgd=True)


def test_nothing_measured() -> None:
    assert "Nothing" in _sentence(NONE, 0.0, "examples", NONE, is_plain_sgd=False)
