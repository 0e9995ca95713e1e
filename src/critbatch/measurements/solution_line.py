"""The loss on the straight line to another solution, trained from the same start with another batch size."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import torch
from torch import nn
from typing_extensions import override

from ..measurement import Measurement, Snapshot
from ..minima.directions import random_direction
from ..minima.lines import POSITIONS, FlatWidth, Line, flat_width, interpolation, line, line_curvature
from ..minima.surface import Surface
from ..optimizer import Optimizer

ENDS = {"other": 0.0, "here": 1.0}  # position on the line
REACH = 1.0  # of filter-normalised lines, on both sides
SHOWN = 41  # positions on those


@final
@dataclass(frozen=True)
class SolutionLine(Measurement):
    """Mean training loss at 25 positions alpha on the line from another solution, at 0, to the run's own, at 1.

    The other solution is trained here from the run's own start, in a plain loop over reshuffled epochs. Its batch size is
    usually the small one, the run's the large one; with equal sizes it is the control, two solutions of one kind.

    - `line_loss[alpha]`: the curve itself.
    - `line_width[other]`, `line_width[here]`: the stretch around an end with losses below twice the end's plus 0.1, in
      units of alpha; `line_width_is_cut` is 1 if one of them reaches beyond the line. Where no barrier lies between the
      ends, both are the same stretch: `line_outward[...]` is the part beyond the end, away from the other one.
    - `line_curvature[...]`: second derivative by the neighbouring positions, loss per squared unit of alpha.
    - `filter_width[...]`: the same width along a random filter-normalised direction, mean of `directions` draws: not in
      the scale of the parameters, so that rescaling of layers leaves it alone.
    - `line_length`: |here - other|. `other_loss`: where the other solution ended.

    Always of the first `examples` of the training set, in evaluation mode. Running statistics of BatchNorm are taken anew
    at each position of the line; along random directions they stay. The task's l2 is left out. Only at the end of a run.
    NaN where a loss at an end is not finite. The loop does not know the sampling, schedule or clipping of the run.

    Cost: the other training, then 25 + 82 `directions` forward passes.
    Sources: Keskar et al. (2016), arXiv:1609.04836, Section 2.2.1; Goodfellow et al. (2015), arXiv:1412.6544; filter
    normalisation Li et al. (2018), arXiv:1712.09913. The width's definition is ours.

    Attributes:
        batch_size: Of the other training; at most the training set.
        learning_rate: Of the other training.
        epochs: Of the other training, left-over examples left out.
        optimizer: Of the other training; None for plain SGD.
        examples: At most so many.
        directions: Random ones, at each end.
    """

    batch_size: int = 32
    learning_rate: float = 0.1
    epochs: int = 30
    optimizer: Optimizer | None = None
    examples: int = 1000
    directions: int = 4

    def __post_init__(self) -> None:
        counts = (self.batch_size, self.epochs, self.examples, self.directions)
        if min(counts) < 1:
            raise ValueError(
                f"`SolutionLine(batch_size={counts[0]}, epochs={counts[1]}, examples={counts[2]}, directions={counts[3]})`: "
                "must be at least 1 each."
            )
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"`SolutionLine(learning_rate={self.learning_rate})`: must be above 0 and finite.")

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
        return {
            **{f"line_loss[{one:g}]": "loss" for one in POSITIONS},
            **{f"line_width[{end}]": "alpha" for end in ENDS},
            "line_width_is_cut": "1 or 0",
            **{f"line_outward[{end}]": "alpha" for end in ENDS},
            **{f"line_curvature[{end}]": "loss per squared unit of alpha" for end in ENDS},
            **{f"filter_width[{end}]": "share of the filters' norms" for end in ENDS},
            "line_length": "parameter",
            "other_loss": "loss",
        }

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        some = slice(self.examples)
        data = snapshot.inputs[some], snapshot.targets[some]
        here = Surface(snapshot.model, snapshot.task.losses, *data)
        other = Surface(self._trained(snapshot), snapshot.task.losses, *data)
        between = interpolation(other, here, reference=snapshot.inputs)
        losses = {f"line_loss[{one:g}]": float(loss) for one, loss in zip(POSITIONS, between.loss, strict=True)}
        left, right = (_width(between, at) for at in ENDS.values())
        is_cut = float(left.is_cut or right.is_cut) if left and right else math.nan
        values = [
            left.width if left else math.nan, right.width if right else math.nan, is_cut,
            -left.low if left else math.nan, right.high - 1 if right else math.nan,
            *(line_curvature(between, at) for at in ENDS.values()),
            *(self._filter_width(surface, snapshot.generator) for surface in (other, here)),
            between.length, other.loss(),
        ]  # fmt: skip
        return dict(zip(self.quantities, [*losses.values(), *values], strict=True))

    def _filter_width(self, surface: Surface, generator: torch.Generator) -> float:
        positions = torch.linspace(-REACH, REACH, SHOWN).tolist()
        positions[SHOWN // 2] = 0.0
        found = []
        for _ in range(self.directions):
            width = _width(line(surface, random_direction(surface, generator=generator), positions=positions), 0.0)
            found.append(width.width if width else math.nan)
        return sum(found) / len(found)

    def _trained(self, snapshot: Snapshot) -> nn.Module:
        """Return the other solution, in eval mode."""
        inputs, targets, task = snapshot.inputs, snapshot.targets, snapshot.task
        model = task.initialise(snapshot.seed).to(inputs.device).train()
        if inputs.is_floating_point():
            model = model.to(inputs.dtype)
        trained = [one for one in model.parameters() if one.requires_grad]
        rate = self.learning_rate
        optimizer = self.optimizer.build(trained, rate) if self.optimizer else torch.optim.SGD(trained, lr=rate)
        size = min(self.batch_size, len(inputs))
        for _ in range(self.epochs):
            order = torch.randperm(len(inputs), generator=snapshot.generator).to(inputs.device)
            for chosen in order[: len(order) // size * size].split(size):
                optimizer.zero_grad()
                objective = task.losses(model(inputs[chosen]), targets[chosen]).mean()
                if task.l2:
                    objective = objective + task.l2 / 2 * torch.stack([one.square().sum() for one in trained]).sum()
                objective.backward()
                optimizer.step()
        return model.eval()


def _width(along: Line, at: float) -> FlatWidth | None:
    """Return the flat width at a position; None where the loss there is not finite."""
    try:
        return flat_width(along, at)
    except ValueError:
        return None
