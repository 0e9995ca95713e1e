"""Whether two shares differ, from counts."""

from collections.abc import Sequence

import numpy as np
from scipy.special import gammaln

ROUNDING = 1e-7  # relative: tables as likely as the one seen count with it


def fisher_exact(counts: Sequence[Sequence[int]]) -> float:
    """Return the two-sided p-value of Fisher's exact test that two groups have the same share.

    Source: Fisher (1935), Journal of the Royal Statistical Society 98, 39-82; two-sided as the sum over all tables with
    these margins that are no more likely than the one seen.

    Args:
        counts: Two rows, one a group: those with the property, and those without.
    """
    (a, b), (c, d) = counts
    first, having = a + b, a + c
    total = first + c + d
    possible = np.arange(max(0, having - (c + d)), min(first, having) + 1)
    logs = _log_choose(first, possible) + _log_choose(total - first, having - possible) - _log_choose(total, having)
    chances = np.exp(logs)
    return float(min(1.0, chances[chances <= chances[a - possible[0]] * (1 + ROUNDING)].sum()))


def _log_choose(count: int, chosen: np.ndarray | int) -> np.ndarray:
    return np.asarray(gammaln(count + 1) - gammaln(np.asarray(chosen) + 1) - gammaln(count - np.asarray(chosen) + 1))
