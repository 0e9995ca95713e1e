"""How many directions gradient noise has: the spectrum of its covariance at frozen parameters."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from typing_extensions import override

from ..derivatives import per_example_gradients
from ..measurement import Measurement, Snapshot
from ..noise import (
    covariance_spectrum,
    effective_rank,
    isotropic_participation_ratios,
    numerical_rank,
    participation_ratio,
)
from ..randomness import seed_of

MOST_NUMBERS = 2**25  # numbers of per-example gradients held at once
NULL_DRAWS = 1000
SQUARED = "(loss per unit of parameter) squared"
DIRECTIONS = "directions"


@final
@dataclass(frozen=True)
class NoiseCovariance(Measurement):
    """Rank and spread of the spectrum of the covariance D of per-example gradients, of at most `examples` of them.

    - `noise_rank[float32]`, `noise_rank[float64]`: eigenvalues above the largest one x max(n, d) x the precision of that
      type. A rank means nothing without its threshold.
    - `noise_participation_ratio`, (sum l)^2/sum l^2, and `noise_effective_rank`, exp(entropy of l/sum l).
    - `noise_participation_ratio_null`: the 1% quantile of the participation ratio of as many isotropic Gaussian gradients
      with as many parameters, by 1,000 draws that are the same at every look. Below it the noise has preferred
      directions.
    - `noise_trace` and `noise_largest_eigenvalue` of D, with divisor n; `noise_examples` n and `noise_parameters` d.

    n examples are drawn from the training set without replacement, fewer than `examples` for large models (memory). The
    model is in evaluation mode, as in the source: no dropout, and BatchNorm by its running statistics, so that each
    example has a gradient of its own; it is not the noise that SGD with BatchNorm sees. All is computed in double
    precision, without an L2 penalty, which would not change D. NaN where gradients are not finite or do not differ.

    Cost: per-example gradients of n examples, n d min(n, d) multiplications and the eigenvalues of a matrix of that
    smaller size; about 5 s for n = 2,000 and 13,000 parameters.
    Source: Chaudhari and Soatto (2017), arXiv:1710.11029, for D, mode and rank; see `critbatch.noise.covariance`.

    Attributes:
        examples: At most so many.
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 2000
    per_decade: int = 1

    def __post_init__(self) -> None:
        if self.examples < 2:
            raise ValueError(f"`NoiseCovariance(examples={self.examples})`: give at least 2, to see them differ.")

    @property
    @override
    def looks_per_decade(self) -> int:
        return self.per_decade

    @property
    @override
    def at_the_end(self) -> bool:
        return True

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        return {
            "noise_rank[float32]": DIRECTIONS, "noise_rank[float64]": DIRECTIONS,
            "noise_participation_ratio": DIRECTIONS, "noise_participation_ratio_null": DIRECTIONS,
            "noise_effective_rank": DIRECTIONS, "noise_trace": SQUARED, "noise_largest_eigenvalue": SQUARED,
            "noise_examples": "examples", "noise_parameters": "parameters",
        }  # fmt: skip

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        found = dict.fromkeys(self.quantities, math.nan)
        model = snapshot.model.double().eval()
        parameters = sum(one.numel() for one in model.parameters() if one.requires_grad)
        count = min(len(snapshot.inputs), self.examples, MOST_NUMBERS // parameters)
        chosen = torch.randperm(len(snapshot.inputs), generator=snapshot.generator)[:count].to(snapshot.inputs.device)
        inputs, targets = (
            part.double() if part.is_floating_point() else part
            for part in (snapshot.inputs[chosen], snapshot.targets[chosen])
        )
        gradients = per_example_gradients(model, snapshot.task.losses, inputs, targets)
        if count < 2 or not bool(gradients.isfinite().all()):
            return found
        spectrum = covariance_spectrum(gradients)
        if float(spectrum[0]) <= 0:
            return found
        ranks = (
            numerical_rank(spectrum, size=max(count, parameters), dtype=one) for one in (torch.float32, torch.float64)
        )
        values = [
            *ranks, participation_ratio(spectrum), _null_quantile(count, parameters), effective_rank(spectrum),
            float(spectrum.sum()), float(spectrum[0]), count, parameters,
        ]  # fmt: skip
        return dict(zip(self.quantities, map(float, values), strict=True))


@functools.lru_cache(maxsize=64)
def _null_quantile(examples: int, parameters: int) -> float:
    generator = np.random.default_rng(seed_of(0, "isotropic gradients", examples, parameters))
    ratios = isotropic_participation_ratios(examples, parameters, draws=NULL_DRAWS, generator=generator)
    return float(np.quantile(ratios, 0.01))
