"""Whether the hyperbola is the right shape: other curves through the same points, and a free sharpness of the bend."""

import dataclasses
from dataclasses import dataclass
from typing import final

import numpy as np

from ..curve import Curve, Shape
from ..curves.broken_stick import BrokenStick
from ..curves.generalised_hyperbola import LARGEST_SHARPNESS, GeneralisedHyperbola
from ..curves.power_law import PowerLaw
from ..estimate import Estimate
from ..statistics.information import aicc
from ..statistics.resampling import replicate_estimate
from .heights import Heights

RIVALS: dict[str, Curve] = {
    "generalised hyperbola": GeneralisedHyperbola(), "power law": PowerLaw(), "broken stick": BrokenStick(),
}  # fmt: skip
FEWEST_SIZES = 5
SHARPNESS = "g of S(B) = S_min (1 + (B_c/B)^g)^(1/g): 1 is the hyperbola, larger a sharper bend"
LIMIT, ROUNDING = 0.99, 1e-3  # of the sharpest bend; of the sharpness of an exact hyperbola
DECISIVE = 4.0  # in AICc


@final
@dataclass(frozen=True)
class Compared:
    """The shapes in order of preference, the sharpness, and in words whether the hyperbola is misspecified."""

    shapes: tuple[Shape, ...] = ()
    sharpness: Estimate | None = None
    misspecified: str | None = None


def shapes(found: Heights, coefficients: np.ndarray, curve: Curve, *, level: float = 0.95) -> Compared:
    """Return other curves beside the fitted one, and whether the data tell the hyperbola apart from them.

    The hyperbola is called misspecified where the interval of the sharpness excludes 1, or another curve's AICc is
    lower by more than 4. Batch sizes that never reached the target do not count here.

    Args:
        found: Log steps to target.
        coefficients: Of `curve` for every replicate, shape (replicate, coefficient).
        curve: A `Hyperbola`.
        level: Confidence level.
    """
    seen = ~found.censored
    sizes, logs = found.sizes[seen], found.logs[:, seen]
    if len(sizes) < FEWEST_SIZES or not np.isfinite(logs).all() or np.ptp(logs[0]) == 0:
        return Compared()
    residuals, count = _observations(logs, found)
    table = {"hyperbola": (curve, coefficients[:1])} | {
        name: (rival, rival.fit(sizes, np.exp(logs[:1]))) for name, rival in RIVALS.items()
    }
    scores = {
        name: aicc(_squares(one, sizes, found_at, residuals), count, len(one.names))
        for name, (one, found_at) in table.items()
    }
    least = min(scores.values())
    order = sorted(scores, key=lambda name: scores[name])
    rows = tuple(Shape(name, len(table[name][0].names), scores[name], scores[name] - least) for name in order)
    sharpness = _sharpness(found, sizes, logs, level)
    return Compared(rows, sharpness, _verdict(sharpness, rows))


def _observations(logs: np.ndarray, found: Heights) -> tuple[np.ndarray, int]:
    """Return what single seeds say of each batch size, (seed, size), less what a seed does to all alike; and how many."""
    group = found.groups[0]
    if len(found.groups) > 1 or not group.about_mean:
        return logs[:1], logs.shape[1]
    count = found.count
    pseudo = count * logs[0] - (count - 1) * logs[group.rows]
    pseudo = pseudo - pseudo.mean(1, keepdims=True) + pseudo.mean()
    return pseudo, pseudo.size - (count - 1)


def _squares(curve: Curve, sizes: np.ndarray, coefficients: np.ndarray, logs: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        fitted = np.log(curve.steps(sizes, coefficients)[0])
    return float(((logs - fitted) ** 2).sum()) if np.isfinite(fitted).all() else float("inf")


def _sharpness(found: Heights, sizes: np.ndarray, logs: np.ndarray, level: float) -> Estimate:
    values = np.log(RIVALS["generalised hyperbola"].fit(sizes, np.exp(logs))[:, 2])
    found_one = replicate_estimate(
        values, found.groups, level=level, count=found.count, unit="dimensionless",
        method=f"least squares in logarithms, {found.method}", definition=SHARPNESS, logarithmic=True,
    )  # fmt: skip
    if found_one.value is not None and found_one.value > LIMIT * LARGEST_SHARPNESS:
        return dataclasses.replace(found_one, high=None)
    return found_one


def _verdict(sharpness: Estimate, rows: tuple[Shape, ...]) -> str | None:
    best, own = rows[0], next(row for row in rows if row.name == "hyperbola")
    low, high = sharpness.low or 0.0, sharpness.high or np.inf
    if sharpness.value is not None and (low > 1 + ROUNDING or high < 1 - ROUNDING):
        return f"the bend is {'sharper' if low > 1 else 'softer'} than a hyperbola's: sharpness {sharpness.brief()}"
    if own.delta > DECISIVE:
        return f"a {best.name} describes steps to target better (AICc lower by {own.delta:.1f})"
    return None
