"""When a noisy curve, seen at a few looks, passes a target for good; or that it has not been seen to."""

import numpy as np

CONFIRMATIONS = 3


def smooth(values: np.ndarray) -> np.ndarray:
    """Return the running median of three looks, shape (look,); the first and the last value stay as they are."""
    if len(values) < 3:
        return values.astype(float)
    left, here, right = values[:-2], values[1:-1], values[2:]
    middle = np.maximum(np.minimum(left, here), np.minimum(np.maximum(left, here), right))
    return np.concatenate([values[:1], middle, values[-1:]]).astype(float)


def crossing(steps: np.ndarray, values: np.ndarray, target: float, direction: str) -> float | None:
    """Return the step at which the smoothed curve passes the target and stays there, or None if censored.

    "Stays" means at three smoothed looks in a row, so that one lucky look is no arrival. Between two looks the step is
    interpolated linearly in log steps (in steps next to step 0): the first look past the target would be late by up to
    the distance of two looks, more so at large batch sizes, which reach targets in few steps.

    Source: steps to result of Shallue et al. (2019), arXiv:1811.03600, who take the first evaluation past the goal;
    smoothing, confirmation and interpolation are ours.

    Args:
        steps: Shape (look,), ascending, at least 0.
        values: Shape (look,); NaN is never past the target.
        target: In the unit of `values`.
        direction: "above" or "below": where the target's far side is.

    Returns:
        Steps, or None if the run ended before it was seen to stay past the target (right-censored).
    """
    sign = 1.0 if direction == "above" else -1.0
    smoothed = smooth(values) * sign
    past = smoothed[:-1] >= target * sign  # the last look is not smoothed, hence no witness
    windows = len(past) - CONFIRMATIONS + 1
    if windows < 1:
        return None
    confirmed = np.logical_and.reduce([past[later : later + windows] for later in range(CONFIRMATIONS)])
    first = int(np.argmax(confirmed))
    return _between(steps, smoothed, first, target * sign) if confirmed[first] else None


def last_short(steps: np.ndarray, values: np.ndarray, target: float, direction: str) -> float:
    """Return the last step at which the smoothed curve was seen on the near side of the target: a censored run's bound.

    Args:
        steps: Shape (look,), ascending.
        values: Shape (look,), of a run that `crossing` calls censored.
        target: In the unit of `values`.
        direction: As in `crossing`.
    """
    sign = 1.0 if direction == "above" else -1.0
    short = np.flatnonzero(~(smooth(values)[:-1] * sign >= target * sign))
    return float(steps[short[-1]]) if len(short) else 0.0


def _between(steps: np.ndarray, smoothed: np.ndarray, index: int, target: float) -> float:
    if index == 0:
        return float(steps[0])
    before, after = smoothed[index - 1], smoothed[index]
    share = (target - before) / (after - before) if np.isfinite(before) and after > before else 1.0
    share = float(np.clip(share, 0.0, 1.0))
    low, high = float(steps[index - 1]), float(steps[index])
    return low + share * (high - low) if low == 0 else float(low * (high / low) ** share)


def value_at(positions: np.ndarray, values: np.ndarray, position: float) -> float:
    """Return the smoothed curve at `position`, interpolated in log positions; NaN outside of what was seen.

    Args:
        positions: Shape (look,), ascending, at least 0: steps, examples or seconds.
        values: Shape (look,).
        position: Where to read, in the unit of `positions`.
    """
    if not len(positions) or position > positions[-1] * (1 + 1e-9) or position < positions[0]:
        return float("nan")
    return float(np.interp(np.log1p(position), np.log1p(positions), smooth(values)))
