"""The curvature of the loss: its largest eigenvalue, its trace, its norm."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

from typing_extensions import override

from ..estimate import Estimate
from ..measurement import Measurement, Snapshot
from ..minima.lanczos import lanczos
from ..minima.surface import Surface
from ..minima.trace import hutch_plus_plus

UNIT = "loss per (unit of parameter) squared"
SQUARED = f"({UNIT}) squared"


@final
@dataclass(frozen=True)
class LossCurvature(Measurement):
    """Of the Hessian of the mean training loss: the largest eigenvalue, the trace, the squared Frobenius norm.

    Always of the same examples, the first `examples` of the training set, in evaluation mode: the curvature of a batch of
    training depends on its size by construction. BatchNorm takes its running statistics. The task's l2 is left out; it
    adds itself to every eigenvalue. The largest eigenvalue is the one furthest to the right, not the largest in size.

    The trace and the norm are unbiased; their errors are half the widths of 95% intervals. The eigenvalue is within the
    residual of a true one, as a rule by far. `hessian_is_exact` is 0 where a layer of the model
    cannot be differentiated twice, and products are differences of gradients. NaN where the loss is not finite.

    Sources: `minima.lanczos` and `minima.trace`. Cost: at most `steps` + `trace_products` products, which are recorded,
    each of two to three passes over the examples. Compare no sharpness of different parametrisations: Dinh et al. (2017),
    arXiv:1703.04933.

    Attributes:
        examples: At most so many.
        steps: Products that the largest eigenvalue may take.
        trace_products: For trace and norm, at least 4 (Hutch++).
        per_decade: Looks per factor of ten in steps; the last look of a run besides.
    """

    examples: int = 1000
    steps: int = 50
    trace_products: int = 30
    per_decade: int = 2

    def __post_init__(self) -> None:
        if self.examples < 1 or self.steps < 1 or self.trace_products < 4:
            raise ValueError(
                f"`LossCurvature(examples={self.examples}, steps={self.steps}, trace_products={self.trace_products})`: "
                "give at least 1 example, 1 step and 4 products."
            )

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
            "hessian_largest_eigenvalue": UNIT, "hessian_largest_residual": UNIT, "hessian_trace": UNIT,
            "hessian_trace_error": UNIT, "hessian_squared_norm": SQUARED, "hessian_squared_norm_error": SQUARED,
            "hessian_products": "products", "hessian_is_exact": "1 or 0",
        }  # fmt: skip

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        some = slice(self.examples)
        surface = Surface(snapshot.model, snapshot.task.losses, snapshot.inputs[some], snapshot.targets[some])
        hessian = surface.hessian()
        largest = lanczos(hessian, snapshot.generator, steps=min(self.steps, hessian.size))
        trace, norm = hutch_plus_plus(hessian, snapshot.generator, products=self.trace_products)
        return {
            "hessian_largest_eigenvalue": float(largest.values[0]),
            "hessian_largest_residual": float(largest.residuals[0]),
            "hessian_trace": _value(trace),
            "hessian_trace_error": _error(trace),
            "hessian_squared_norm": _value(norm),
            "hessian_squared_norm_error": _error(norm),
            "hessian_products": float(hessian.products),
            "hessian_is_exact": float(surface.is_exact),
        }


def _value(estimate: Estimate) -> float:
    return math.nan if estimate.value is None else estimate.value


def _error(estimate: Estimate) -> float:
    return math.nan if estimate.high is None or estimate.low is None else (estimate.high - estimate.low) / 2
