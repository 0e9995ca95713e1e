"""Steps to target of each batch size at its best learning rate, with the replicates that show how uncertain they are."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np

from ..curve import Curve
from ..curves.hyperbola import Hyperbola
from ..statistics.resampling import Group, drawn_weights, leave_one_out
from ..statistics.tobit import inverse_mills
from ..statistics.valley import WIDTH, Valley, valley
from .choice import BY_STEPS, Choice

SUMMARISED = "standard deviations as given, Student t"
SCATTER = "single runs: scatter about the curve, Student t"
NOISES = 2.5  # standard errors of a mean score that the valley's weights span at least
ROUNDS = 60
LEAST_SPREAD = 0.01


@final
@dataclass(frozen=True, eq=False)
class Heights:
    """Log steps to target of tuned batch sizes.

    Attributes:
        sizes: Shape (size,), ascending.
        logs: Shape (replicate, size), row 0 from all runs; the lower bound where `censored`.
        censored: Shape (size,): whether no learning rate reached the target with enough seeds.
        groups: How to read the replicates.
        count: Independent seeds.
        method: Where the uncertainty comes from, in words.
    """

    sizes: np.ndarray
    logs: np.ndarray
    censored: np.ndarray
    groups: tuple[Group, ...]
    count: int
    method: str


def heights(choices: Mapping[int, Choice], *, paired: bool = True) -> Heights:
    """Return the heights of all batch sizes of which something is known, and what they would be without each seed.

    Args:
        choices: By batch size, each with the same seeds in the same order if `paired`.
        paired: Whether seed i is the same randomness at every batch size.
    """
    known = {size: one for size, one in sorted(choices.items()) if _bottom(one) or one.least_bound() is not None}
    counts = [one.scores.shape[1] for one in known.values()]
    paired = paired and len(set(counts)) == 1
    weights, groups = leave_one_out(counts, paired=paired) if known else ([], ())
    usable = not known or (min(counts) > 1 if paired else bool(groups))
    how = "delete-one-seed jackknife" if paired else "delete-one-seed jackknife within batch sizes"
    logs = _logs(list(known.values()), weights)
    if groups and not paired:
        logs, groups = _with_single_runs(logs, groups, list(known.values()))
    return Heights(
        np.array(list(known), dtype=float),
        logs,
        np.array([not _bottom(one) for one in known.values()], dtype=bool),
        groups if usable else (),
        min(counts, default=0) if paired else sum(counts),
        f"{how}, Student t",
    )


def _with_single_runs(
    logs: np.ndarray, groups: tuple[Group, ...], known: list[Choice]
) -> tuple[np.ndarray, tuple[Group, ...]]:
    """Return replicates with one more for each batch size of a single run: moved by what runs elsewhere scatter."""
    rows = [one.scores[one.best][np.isfinite(one.scores[one.best])] for one in known if one.best is not None]
    repeats = [row for row in rows if len(row) > 1]
    degrees = sum(len(row) - 1 for row in repeats)
    if not degrees:
        return logs, groups
    spread = float(np.sqrt(sum(((row - row.mean()) ** 2).sum() for row in repeats) / degrees))
    for place, one in enumerate(known):
        if one.scores.shape[1] == 1:
            moved = logs[:1].copy()
            moved[0, place] += spread
            groups += (Group(slice(len(logs), len(logs) + 1), 1.0, float(degrees), about_mean=False),)
            logs = np.vstack([logs, moved])
    return logs, groups


def drawn(choices: Mapping[int, Choice], draws: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return batch sizes that reached the target, (size,), and log steps of resampled seeds, (draw + 1, size).

    The best learning rate is sought anew in each draw; row 0 is from everything.
    """
    known = {size: one for size, one in sorted(choices.items()) if _bottom(one)}
    weights = drawn_weights(next(iter(known.values())).scores.shape[1], draws, generator)
    return np.array(list(known), dtype=float), _logs(list(known.values()), [weights] * len(known))


def _bottom(choice: Choice) -> bool:
    return choice.best is not None and choice.criterion == BY_STEPS


def _logs(known: list[Choice], weights: list[np.ndarray]) -> np.ndarray:
    columns = []
    for one, some in zip(known, weights, strict=True):
        bound = one.least_bound()
        columns.append(bottom(one, some).height if _bottom(one) else np.full(len(some), bound))
    return np.stack(columns, axis=-1) if columns else np.empty((1, 0))


def bottom(choice: Choice, weights: np.ndarray, *, width: float = WIDTH) -> Valley:
    """Return the lowest point over learning rates, for weights (replicate, seed) of the seeds.

    The noisier the scores, the more candidates take part: where noise is small only the nearest, where a parabola fits;
    where it is large, enough of them that the luckiest one does not decide.

    Args:
        choice: Of one batch size.
        weights: Shape (replicate, seed).
        width: Of the valley's weights, in log steps, at least.
    """
    return valley(choice.positions, choice.means(weights), width=max(width, NOISES * choice.error()))


def from_summaries(sizes: np.ndarray, means: np.ndarray, spreads: np.ndarray, counts: np.ndarray) -> Heights:
    """Return the heights of batch sizes of which only mean, standard deviation and number of runs are known.

    Steps are taken to be log-normal: the mean of their logarithms is log(mean) - log(1 + (sd/mean)^2)/2.

    Args:
        sizes: Shape (size,), ascending.
        means: Of steps to target.
        spreads: Standard deviation of one run; NaN where there is one run.
        counts: Runs.
    """
    variances = np.log1p((np.nan_to_num(spreads.astype(float)) / means) ** 2)
    given = (counts > 1) & (variances > 0)
    degrees = float((counts - 1)[given].sum())
    pooled = float((variances * (counts - 1))[given].sum() / degrees) if degrees else 0.0
    variances = np.where(given, variances, pooled)  # where none is given, runs scatter as they do elsewhere
    logs = np.log(means.astype(float)) - variances / 2
    errors = np.sqrt(variances / counts)
    groups = tuple(
        Group(slice(place, place + 1), 1.0, float(count - 1) if own else degrees, about_mean=False)
        for place, (count, own) in enumerate(zip(counts, given, strict=True), start=1)
        if degrees
    )
    found = Heights(
        sizes.astype(float), _shifted(logs, errors), np.zeros(len(sizes), bool), groups, int(counts.sum()), SUMMARISED
    )
    return found if groups else alone(found, Hyperbola())


def alone(found: Heights, curve: Curve) -> Heights:
    """Return heights of single runs with replicates from their scatter about the curve: nothing else shows their noise.

    Args:
        found: Without groups.
        curve: Fitted to them.
    """
    seen = ~found.censored
    free = int(seen.sum()) - len(curve.names)
    if free < 1:
        return found
    only = dataclasses.replace(found, logs=found.logs[:1])
    with np.errstate(invalid="ignore"):
        apart = (np.log(curve.steps(found.sizes, fitted(curve, only))) - only.logs)[0][seen]
    spread = float(np.sqrt((apart**2).sum() / free))
    if not spread > 0:
        return found
    group = Group(slice(1, len(found.sizes) + 1), 1.0, float(free), about_mean=False)
    shifts = np.where(seen, spread, 0.0)
    return dataclasses.replace(only, logs=_shifted(only.logs[0], shifts), groups=(group,), method=SCATTER)


def _shifted(logs: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Return the heights, then each with one batch size moved by one standard error, shape (size + 1, size)."""
    return np.vstack([logs, logs + np.diag(errors)])


def fitted(curve: Curve, found: Heights) -> np.ndarray:
    """Return the curve's coefficients for every replicate, shape (replicate, coefficient).

    A batch size that was not seen to reach the target counts as "more steps than seen": its place is taken by its mean
    given the fit, over and over until nothing moves (expectation and maximisation).

    Source: Tobin (1958), Econometrica 26, 24-36, applied to the residuals of log steps.
    """
    logs, cut = found.logs.copy(), found.censored
    if not cut.any():
        return curve.fit(found.sizes, np.exp(logs))
    bounds = logs[:, cut]
    coefficients = curve.fit(found.sizes[~cut], np.exp(logs[:, ~cut]))
    free = max((~cut).sum() - len(curve.names), 1)
    for _ in range(ROUNDS):
        with np.errstate(invalid="ignore", divide="ignore"):
            middle = np.log(np.maximum(curve.steps(found.sizes, coefficients), 1e-12))
        apart = (logs - middle)[:, ~cut]
        spread = np.maximum(np.sqrt((apart**2).sum(-1, keepdims=True) / free), LEAST_SPREAD)
        z = np.clip((bounds - middle[:, cut]) / spread, -30, 30)
        logs[:, cut] = np.maximum(middle[:, cut] + spread * inverse_mills(z), bounds)
        coefficients = curve.fit(found.sizes, np.exp(logs))
    return coefficients
