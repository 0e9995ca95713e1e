"""The functions that are held to the truth, together: a fault can be put in the place of any of them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch

from ..analysis.choice import Choice
from ..analysis.comparison import most
from ..analysis.planted import choices_of
from ..analysis.rates import learning_rate_rule
from ..analysis.target_curve import fit_curve
from ..curve import Fit
from ..curves.hyperbola import Hyperbola
from ..estimate import Estimate
from ..finding import Winner
from ..hardware.step_time import fit_step_time, time_optimal_batch_size
from ..noise import noise_moments, noise_scale
from ..statistics.comparisons import paired_difference
from ..worlds.sweeps import SweepWorld

Moments = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def _fit(choices: dict[int, Choice]) -> Fit:
    return fit_curve(choices, Hyperbola(), thorough=False)


@final
@dataclass(frozen=True)
class Instrument:
    """What critbatch measures with. The defaults are its own functions; tests replace one by a faulty one.

    Attributes:
        moments: tr(Sigma) and |G|^2 from mean gradients of micro-batches.
        scale: The noise scale from repeated moments.
        choices: A sweep drawn from a made-up world, as the analysis arranges it.
        fit: The curve through steps to target.
        rule: The learning rate rule.
        compare: A paired difference with its tests.
        winner: The best of several batch sizes, and what may be said against the others.
        step_time: The line through step times.
        optimum: The time-optimal batch size.
    """

    moments: Moments = noise_moments
    scale: Callable[..., Estimate] = noise_scale
    choices: Callable[[SweepWorld, np.random.Generator], dict[int, Choice]] = choices_of
    fit: Callable[[dict[int, Choice]], Fit] = _fit
    rule: Callable[..., Any] = learning_rate_rule
    compare: Callable[..., Any] = paired_difference
    winner: Callable[..., Winner] = most
    step_time: Callable[..., Any] = fit_step_time
    optimum: Callable[..., Estimate] = time_optimal_batch_size
