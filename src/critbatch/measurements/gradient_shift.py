"""How far layers depend on each other's updates: what a step of the earlier ones does to the gradient of a later one."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from ..data import Examples
from ..measurement import Measurement, Snapshot

STEPS = ("rate", "linear", "length")
OF_STEPS = {"gradient_shift": "", "gradient_shift_cosine": "", "step_progress": "loss", "interaction": "loss",
            "nonadditivity": ""}  # fmt: skip
OF_GRADIENTS = {"update_coverage": "", "update_participation": ""}
Flat = Float[Tensor, " parameter"]


@final
@dataclass(frozen=True)
class GradientShift(Measurement):
    """Co-dependence of layers under one plain SGD step -r g_B, for several batch sizes B at the same parameters.

    Means over `batches` batches drawn without replacement, the smaller ones part of the larger. For each step setting:

    - `gradient_shift`: |G_i' - G_i|/|G_i|, averaged over the layers i that have an earlier one. G_i is the gradient of
      layer i on the batch, G_i' that on the same batch once the layers before i have taken their part of the step.
      `gradient_shift_cosine`: the cosine between the two.
    - `step_progress`: -D, where D is the change of the loss by the whole step, on the same `examples` training examples
      for all batches. Negative where the step makes the loss worse.
    - `interaction`: D less the sum of the changes by each layer's part alone, about sum_{i<j} D_i' H_ij D_j. Positive:
      moved together, layers do worse than each of them promised.
    - `nonadditivity`: mean interaction over the absolute value of the mean of D.

    The step settings: "rate", r is the run's learning rate at every B; "linear", r grows in proportion to B from the
    run's rate at the run's batch size; "length", every step is as long as one at the run's rate along the gradient of
    the `examples` examples. Without a step: `update_coverage`, the share of weights whose gradient on the batch is not
    0 (ReLU gates close the others), and `update_participation`, (sum u^2)^2/(d sum u^4) over the weights u of the
    gradient, 1 where all of them move alike. NaN where there is no earlier layer, or B exceeds the training set.

    Everything is computed in float64, without dropout; BatchNorm takes the statistics of the batch at hand.

    Cost: at each B and setting about `batches` (1 + 2 B + examples/3) x layers forward passes of one example; 2 s for
    two layers, five batch sizes up to 2,000 and 16 batches.
    Source: Santurkar et al. (2018), arXiv:1805.11604, Definition 2.1, for the shift; the rest is ours.

    Attributes:
        batch_sizes: B.
        batches: Drawn at each B; one where the batch is the whole training set.
        examples: On which the change of the loss is taken, at most.
        per_decade: Looks per factor of ten in steps.
    """

    batch_sizes: tuple[int, ...] = (8, 32)
    batches: int = 16
    examples: int = 1024
    per_decade: int = 1

    @property
    @override
    def looks_per_decade(self) -> int:
        return self.per_decade

    @property
    @override
    def quantities(self) -> Mapping[str, str]:
        of_steps = {f"{name}[B={size},step={step}]": unit
                    for size in self.batch_sizes for step in STEPS for name, unit in OF_STEPS.items()}  # fmt: skip
        return of_steps | {
            f"{name}[B={size}]": unit for size in self.batch_sizes for name, unit in OF_GRADIENTS.items()
        }

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        found = dict.fromkeys(self.quantities, math.nan)
        count = len(snapshot.inputs)
        *orders, held = (torch.randperm(count, generator=snapshot.generator) for _ in range(self.batches + 1))
        probe = _Probe(snapshot, held[: self.examples])
        for size in self.batch_sizes:
            if size <= count:
                batches = [order[:size] for order in orders[: 1 if size == count else None]]
                found |= _mean([_named(probe.look(batch), size) for batch in batches], size)
        return found


def _named(values: Mapping[tuple[str, str], float], size: int) -> dict[str, float]:
    return {f"{name}[B={size},step={step}]" if step else f"{name}[B={size}]": value
            for (name, step), value in values.items()}  # fmt: skip


def _mean(batches: list[dict[str, float]], size: int) -> dict[str, float]:
    """Return means over batches, without those that have no gradient; and the ratio of two of them at each step."""
    table = {name: np.array([values[name] for values in batches]) for name in batches[0]}
    found = {name: float(np.nanmean(one)) if np.isfinite(one).any() else math.nan for name, one in table.items()}
    for step in STEPS:
        end = f"[B={size},step={step}]"
        change = abs(found[f"step_progress{end}"])
        found[f"nonadditivity{end}"] = found[f"interaction{end}"] / change if change else math.nan
    return found


@final
class _Probe:
    """A copy of the model at one look whose layers can be moved and put back; it has no randomness left."""

    def __init__(self, snapshot: Snapshot, held: Int[Tensor, " example"]) -> None:
        self.model = snapshot.model.double().eval()
        for module in self.model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.train()
        seen: set[int] = set()
        owned = [[one for one in module.parameters(recurse=False) if one.requires_grad and id(one) not in seen
                  and not seen.add(id(one))] for module in self.model.modules()]  # fmt: skip
        self.layers = [parameters for parameters in owned if parameters]
        self.start = [[one.detach().clone() for one in parameters] for parameters in self.layers]
        self.snapshot = snapshot
        self.held = self.examples(held)
        self.before = self.loss()
        gradients = self.gradients(self.held)
        self.length = snapshot.learning_rate * float(torch.cat(gradients).norm())

    def examples(self, chosen: Int[Tensor, " example"]) -> Examples:
        """Return training examples in float64."""
        inputs, targets = (part[chosen.to(part.device)] for part in (self.snapshot.inputs, self.snapshot.targets))
        return Examples(*(part.double() if part.is_floating_point() else part for part in (inputs, targets)))

    def look(self, batch: Int[Tensor, " example"]) -> dict[tuple[str, str], float]:
        """Return the quantities of one batch by name and step setting."""
        data = self.examples(batch)
        gradients = self.gradients(data)
        whole = torch.cat(gradients)
        squares = whole.square()
        rate = self.snapshot.learning_rate
        rates = (rate, rate * len(batch) / self.snapshot.batch_size, self.length / max(float(whole.norm()), 1e-300))
        found = {
            ("update_coverage", ""): float((whole != 0).double().mean()),
            ("update_participation", ""): float(squares.sum() ** 2 / (len(whole) * squares.square().sum())),
        }
        for step, rate in zip(STEPS, rates, strict=True):
            found |= {(name, step): value for name, value in self.step(data, gradients, rate).items()}
        return found

    def step(self, data: Examples, gradients: list[Tensor], rate: float) -> dict[str, float]:
        """Return what one step of this rate along minus these gradients does."""
        shifts, cosines = [], []
        for layer, gradient in enumerate(gradients):
            if layer and (size := float(gradient.norm())):
                after = self.gradients(data, layer)[0]
                shifts.append(float((after - gradient).norm()) / size)
                cosines.append(float(functional.cosine_similarity(after, gradient, dim=0)))
            self.move(layer, gradient, rate)
        change = self.loss() - self.before
        self.put_back()
        alone = 0.0
        for layer, gradient in enumerate(gradients):
            self.move(layer, gradient, rate)
            alone += self.loss() - self.before
            self.put_back()
        shift, cosine = (float(np.mean(values)) if values else math.nan for values in (shifts, cosines))
        return {"gradient_shift": shift, "gradient_shift_cosine": cosine, "step_progress": -change,
                "interaction": change - alone}  # fmt: skip

    def gradients(self, data: Examples, layer: int | None = None) -> list[Tensor]:
        """Return the gradient of the mean loss for each layer, or for one of them alone."""
        layers = self.layers if layer is None else [self.layers[layer]]
        mean = self.snapshot.task.losses(self.model(data.inputs), data.targets).mean()
        wanted = [one for parameters in layers for one in parameters]
        found = iter(torch.autograd.grad(mean, wanted, allow_unused=True, materialize_grads=True))
        return [torch.cat([next(found).flatten() for _ in parameters]) for parameters in layers]

    @torch.no_grad()
    def loss(self) -> float:
        """Return the mean loss of the examples held for it, where the layers are now."""
        return float(self.snapshot.task.losses(self.model(self.held.inputs), self.held.targets).mean())

    @torch.no_grad()
    def move(self, layer: int, gradient: Flat, rate: float) -> None:
        """Move a layer by minus `rate` times `gradient`."""
        pieces = gradient.split([one.numel() for one in self.layers[layer]])
        for parameter, piece in zip(self.layers[layer], pieces, strict=True):
            parameter.sub_(piece.view_as(parameter), alpha=rate)

    @torch.no_grad()
    def put_back(self) -> None:
        """Put every layer back to where it was."""
        for parameters, values in zip(self.layers, self.start, strict=True):
            for parameter, value in zip(parameters, values, strict=True):
                parameter.copy_(value)
