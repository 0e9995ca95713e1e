"""How far a linear model is from the smallest one that fits its training set."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from ..measurement import Measurement, Snapshot

ROUNDING = 1e-12  # of the largest singular value: smaller ones count as none


@final
@dataclass(frozen=True)
class MinimumNormDistance(Measurement):
    """|W - W*|/|W*| for a linear model without bias, where W* is the least-squares solution of the smallest norm.

    - `minimum_norm_distance`: this ratio, Frobenius norms; W* is the pseudo-inverse of the inputs times the targets.
    - `relative_residual`: |X W - Y|/|Y| over the whole training set.

    Targets that are classes stand for their one-hot vectors. In double precision; singular values below 1e-12 of the
    largest count as none. NaN for a model that is anything but one linear layer without bias (inputs are flattened), for
    targets of another shape than the outputs, and where targets are 0 throughout.

    Cost: one singular value decomposition of the training set.
    Source: Zhang et al. (2016), arXiv:1611.03530, Section 5.

    Attributes:
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    per_decade: int = 1

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
        return {"minimum_norm_distance": "", "relative_residual": ""}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        weights, targets = _weights(snapshot.model), snapshot.targets
        nothing = dict.fromkeys(self.quantities, math.nan)
        if weights is None:
            return nothing
        inputs = snapshot.inputs.detach().flatten(1).cpu().double()
        wanted = targets if targets.is_floating_point() else functional.one_hot(targets, len(weights))
        wanted = wanted.detach().reshape(len(targets), -1).cpu().double()
        if wanted.shape[1] != len(weights) or not bool(wanted.any()):
            return nothing
        smallest = torch.linalg.pinv(inputs, rtol=ROUNDING) @ wanted
        return {
            "minimum_norm_distance": float((weights.T - smallest).norm() / smallest.norm()),
            "relative_residual": float((inputs @ weights.T - wanted).norm() / wanted.norm()),
        }


def _weights(model: nn.Module) -> Float[Tensor, "output input"] | None:
    """Return the weights of a model that is one linear layer without bias; None for any other."""
    leaves = [one for one in model.modules() if not list(one.children())]
    layers = [one for one in leaves if isinstance(one, nn.Linear)]
    rest = [one for one in leaves if not isinstance(one, (nn.Linear, nn.Flatten, nn.Identity))]
    inside = all(isinstance(one, nn.Sequential) for one in model.modules() if list(one.children()))
    if not inside or len(layers) != 1 or rest or layers[0].bias is not None:
        return None
    return layers[0].weight.detach().cpu().double()
