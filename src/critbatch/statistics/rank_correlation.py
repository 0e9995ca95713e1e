"""Spearman's rank correlation where observations come in clusters that are independent of each other."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

from ..estimate import Estimate
from .resampling import drawn_weights, expanded_interval

DRAWS = 999
METHOD = "Spearman, expanded percentile bootstrap of clusters"


def rank_correlation(
    clusters: Sequence[tuple[np.ndarray, np.ndarray]], *, generator: np.random.Generator, definition: str,
    level: float = 0.95,
) -> Estimate:  # fmt: skip
    """Return Spearman's correlation of all pairs, with an interval from whole clusters drawn anew.

    Missing with fewer than two clusters, or where a quantity is the same everywhere, or in a tenth of the draws.

    Source: Spearman (1904), American Journal of Psychology 15, 72-101; the interval: Hesterberg (2015), arXiv:1411.5279.

    Args:
        clusters: One (x, y) each, both of shape (pair,), finite; such as the layers of one seed.
        generator: Of the bootstrap.
        definition: In words.
        level: Confidence level.

    Raises:
        ValueError: If a cluster has not as many x as y.
    """
    for x, y in clusters:
        if len(x) != len(y):
            raise ValueError(f"`rank_correlation`: a cluster has {len(x)} x and {len(y)} y. Give pairs.")
    kept = [pair for pair in clusters if len(pair[0])]
    facts = {"unit": "", "definition": definition, "level": level, "count": len(kept), "method": METHOD}
    if len(kept) < 2:
        return Estimate.missing("fewer than two clusters have a pair", **facts)
    x, y = (np.concatenate(part) for part in zip(*kept, strict=True))
    owner = np.repeat(np.arange(len(kept)), [len(one) for one, _ in kept])
    weights = drawn_weights(len(kept), DRAWS, generator).astype(int)
    found = np.array([_correlation(*(np.repeat(part, times[owner]) for part in (x, y))) for times in weights])
    value, drawn = found[0], found[1:][np.isfinite(found[1:])]
    if not np.isfinite(value) or len(drawn) < 0.9 * DRAWS:
        return Estimate.missing("one of the two is the same nearly everywhere", **facts)
    low, high = expanded_interval(drawn, count=len(kept), level=level)
    return Estimate(float(value), low, high, level, len(kept), "", METHOD, definition)


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    one, other = (ranks - ranks.mean() for ranks in (rankdata(x), rankdata(y)))
    scale = np.sqrt((one @ one) * (other @ other))
    return float(one @ other / scale) if scale > 0 else np.nan
