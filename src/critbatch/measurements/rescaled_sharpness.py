"""What measures of sharpness say of one and the same function after two of its layers were rescaled."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..minima.adaptive import adaptive_sharpness, fisher_rao_norm
from ..minima.keskar import keskar_sharpness, random_directions
from ..minima.lanczos import lanczos
from ..minima.rescaling import rescaled
from ..minima.surface import Surface

UNITS = {
    "logit_change": "logit", "keskar": "%", "keskar_random": "%", "keskar_adaptive": "%",
    "eigenvalue": "loss per (unit of parameter) squared", "elementwise": "loss", "filter": "loss", "fisher_rao": "loss",
}  # fmt: skip
EPSILON = 1e-3
RADIUS, FILTER_RADIUS = 0.5, 0.1


@final
@dataclass(frozen=True)
class RescaledSharpness(Measurement):
    """Measures of sharpness after the first of two layers was multiplied by alpha and the second divided by it.

    For each alpha: `rescaled_logit_change`, the largest change of an output, which is rounding; Metric 2.1 in the full
    space (`keskar`), in random directions (`keskar_random`) and without its "+1" (`keskar_adaptive`), half width 1e-3; the
    Hessian's largest `eigenvalue`; adaptive sharpness `elementwise` and by `filter`; and the Fisher-Rao norm. See the
    measurements `keskar_sharpness`, `adaptive_sharpness` and `curvature`. Random draws are the same for every alpha.

    Always of the first `examples` of the training set, in evaluation mode; the task's l2 is left out. Only at the end of
    a run. NaN where the model is no sequence of layers with ReLU between the first two, or the loss is not finite.

    Cost: about 200 passes forward and backward for each alpha.
    Source: Dinh, Pascanu, Bengio and Bengio (2017), arXiv:1703.04933, Section 4.

    Attributes:
        alphas: Above 0; 1 is the function as it was trained.
        examples: At most so many.
    """

    alphas: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 100.0)
    examples: int = 1000

    def __post_init__(self) -> None:
        names = {f"{one:g}" for one in self.alphas if 0 < one < math.inf}
        if self.examples < 1 or not names or len(names) < len(self.alphas):
            raise ValueError(
                f"`RescaledSharpness(alphas={self.alphas}, examples={self.examples})`: give factors above 0 that differ, "
                "and at least 1 example."
            )

    @property
    @override
    def looks_per_decade(self) -> int:
        return 0

    @property
    @override
    def at_the_end(self) -> bool:
        return True

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        return {f"rescaled_{name}[{alpha:g}]": unit for alpha in self.alphas for name, unit in UNITS.items()}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        some = slice(self.examples)
        data = snapshot.task.losses, snapshot.inputs[some], snapshot.targets[some]
        before = Surface(snapshot.model, *data).outputs()
        state = snapshot.generator.get_state()
        found: list[float] = []
        for alpha in self.alphas:
            try:
                surface = Surface(rescaled(snapshot.model, alpha), *data)
            except ValueError:
                return dict.fromkeys(self.quantities, math.nan)
            change = float((surface.outputs() - before).abs().max())
            found += [change, *_sharpness(surface, snapshot.generator.set_state(state))]
        return dict(zip(self.quantities, found, strict=True))


def _sharpness(surface: Surface, generator: torch.Generator) -> list[float]:
    """Return the measures in the order of `UNITS`, without the first."""
    if not math.isfinite(surface.loss()):
        return [math.nan] * (len(UNITS) - 1)
    directions = random_directions(surface, generator=generator)
    cases = ((None, 1.0), (directions, 1.0), (None, 0.0))
    rises = [
        keskar_sharpness(surface, epsilon=EPSILON, directions=some, offset=offset, generator=generator).value
        for some, offset in cases
    ]
    return [
        *rises,
        float(lanczos(surface.hessian(), generator, steps=min(50, surface.size)).values[0]),
        adaptive_sharpness(surface, radius=RADIUS, scale="elementwise"),
        adaptive_sharpness(surface, radius=FILTER_RADIUS, scale="filter"),
        fisher_rao_norm(surface),
    ]
