"""Whether batch sizes were tuned equally well: what n learning rates drawn at random would have found."""

from collections.abc import Mapping

import numpy as np

from ..finding import TuningCurve
from ..statistics.comparisons import best_of
from .choice import BY_STEPS, Choice


def tuning(choices: Mapping[int, Choice]) -> tuple[TuningCurve, ...]:
    """Return, for each batch size, the expected fewest steps to target of the best of n learning rates.

    Learning rates that diverged or did not get there are trials too: of n = 1 they make the expectation infinite, hence
    the geometric mean is taken over those that did, beside their share. Compare batch sizes at equal n.

    Source: Dodge et al. (2019), arXiv:1909.03004.
    """
    found = []
    for size, one in sorted(choices.items()):
        if one.criterion != BY_STEPS:
            continue
        means = one.means(np.ones((1, one.scores.shape[1])))[0]
        usable = means[np.isfinite(means)]
        if len(usable):
            steps = tuple(float(value) for value in np.exp(-best_of(-usable)))
            found.append(TuningCurve(size, len(means), len(usable), steps))
    return tuple(found)
