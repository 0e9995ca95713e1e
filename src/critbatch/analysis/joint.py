"""One surface through all runs: steps to target as a function of batch size and learning rate together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
from scipy.optimize import least_squares

from ..finding import JointFit
from ..statistics.resampling import leave_one_out, replicate_estimate
from .choice import BY_STEPS, Choice

FEWEST_SIZES = 4
PARAMETERS = 5
WIDTH = 0.5  # of the weights, in log steps above the best
UPHILL = 1.5  # log steps above the best beyond which no parabola is trusted
METHOD = "least squares of log S(B, learning rate) over all cells, delete-one-seed jackknife, Student t"
CRITICAL = "E_min/S_min of the surface log S = log(S_min + E_min/B) + a (log rate - c - p log B)^2, all runs together"
EXPONENT = "p of the same surface: exponent of the best learning rate against the batch size"


@final
@dataclass(frozen=True, eq=False)
class _Cells:
    """All cells near their batch size's best: log batch size, log rate, weight (cell,), and log steps (replicate, cell)."""

    sizes: np.ndarray
    rates: np.ndarray
    weights: np.ndarray
    logs: np.ndarray


def joint_fit(choices: Mapping[int, Choice], *, paired: bool = True, level: float = 0.95) -> JointFit | None:
    """Return the surface fitted to every run, or None where there are too few batch sizes, rates or seeds for it.

    Where batch sizes have few learning rates or seeds, the surface borrows strength from their neighbours; where its
    shape is wrong, it is wrong everywhere. The error of predicting a batch size that was left out says which it is.

    Source: our own; the hyperbola is McCandlish et al.'s (2018), arXiv:1812.06162, Equation 2.11.

    Args:
        choices: By batch size.
        paired: Whether seed i is the same randomness at every batch size.
        level: Confidence level.
    """
    used = {
        size: one for size, one in sorted(choices.items()) if one.best is not None and one.criterion == BY_STEPS
        and np.isfinite(one.rates).all() and len(one.rates) > 2
    }  # fmt: skip
    counts = [one.scores.shape[1] for one in used.values()]
    if len(used) < FEWEST_SIZES or min(counts) < 2:
        return None
    weights, groups = leave_one_out(counts, paired=paired and len(set(counts)) == 1)
    cells = _cells(used, weights)
    largest = max((cells.sizes == size).sum() for size in np.unique(cells.sizes))
    if len(cells.sizes) - largest < PARAMETERS or not np.isfinite(cells.logs).all():
        return None
    start = _start(cells)
    first = _solve(cells, cells.logs[0], start)
    found = np.array([first] + [_solve(cells, row, first) for row in cells.logs[1:]])
    facts = {"level": level, "count": counts[0], "method": METHOD}
    critical = replicate_estimate(
        found[:, 1] - found[:, 0], groups, unit="examples", definition=CRITICAL, logarithmic=True, **facts
    )
    exponent = replicate_estimate(found[:, 4], groups, unit="dimensionless", definition=EXPONENT, **facts)
    residuals = _surface(cells, first) - cells.logs[0]
    return JointFit(
        critical_batch_size=critical,
        exponent=exponent,
        curvature=float(np.exp(first[2])),
        residual=float(np.sqrt(np.average(residuals**2, weights=cells.weights))),
        held_out_error=_held_out(cells, first),
        cells=len(cells.sizes),
    )


def _cells(used: Mapping[int, Choice], weights: list[np.ndarray]) -> _Cells:
    parts: list[tuple[np.ndarray, ...]] = []
    for (size, one), some in zip(used.items(), weights, strict=True):
        means = one.means(some)
        above = means[0] - means[0].min()
        near = np.isfinite(means).all(0) & (above < UPHILL)
        parts.append(
            (
                np.full(near.sum(), np.log(size)),
                one.positions[near],
                np.exp(-0.5 * (above[near] / WIDTH) ** 2),
                means[:, near],
            )
        )
    sizes, rates, shares = (np.concatenate([part[index] for part in parts]) for index in range(3))
    return _Cells(sizes, rates, shares, np.concatenate([part[3] for part in parts], axis=1))


def _start(cells: _Cells) -> np.ndarray:
    """Return where the search begins: log S_min, log E_min, log curvature, c and p of the best cells."""
    best = np.array(
        [
            np.flatnonzero(cells.sizes == size)[np.argmin(cells.logs[0][cells.sizes == size])]
            for size in np.unique(cells.sizes)
        ]
    )
    slope, constant = np.polyfit(cells.sizes[best], cells.rates[best], 1)
    lowest = cells.logs[0][best]
    return np.array([lowest.min(), (lowest + cells.sizes[best]).min(), np.log(0.3), constant, slope])


def _surface(cells: _Cells, x: np.ndarray) -> np.ndarray:
    valley = np.logaddexp(x[0], x[1] - cells.sizes)
    return valley + np.exp(x[2]) * (cells.rates - x[3] - x[4] * cells.sizes) ** 2


def _solve(cells: _Cells, logs: np.ndarray, start: np.ndarray) -> np.ndarray:
    root = np.sqrt(cells.weights)
    return least_squares(lambda x: root * (_surface(cells, x) - logs), start, method="lm").x


def _held_out(cells: _Cells, start: np.ndarray) -> float:
    """Return the root mean square error, in log steps, of predicting the best cell of a batch size that was left out."""
    wrong = []
    for size in np.unique(cells.sizes):
        kept, out = cells.sizes != size, cells.sizes == size
        rest = _Cells(cells.sizes[kept], cells.rates[kept], cells.weights[kept], cells.logs[:, kept])
        found = _solve(rest, rest.logs[0], start)
        wrong.append(float(np.average((_surface(cells, found) - cells.logs[0])[out], weights=cells.weights[out])))
    return float(np.sqrt(np.mean(np.square(wrong))))
