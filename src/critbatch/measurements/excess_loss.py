"""The training objective over its optimum, which a deterministic solver finds in double precision."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.optimize import minimize
from torch import nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from typing_extensions import override

from ..data import Examples
from ..measurement import Measurement, Snapshot
from ..task import Task

MEMORY = 30  # pairs of steps and gradient changes that L-BFGS keeps
KEPT = 64  # optima of a process
CHUNK = 4096  # examples


@final
@dataclass(frozen=True)
class ExcessLoss(Measurement):
    """How far the objective is above the best that is known, for the whole training set, in units of the loss.

    The objective is the mean training loss plus l2/2 |parameters|^2, in evaluation mode and double precision. Recorded:
    `excess_objective`, and `best_objective` from which it is counted. A stream of fresh examples has no training set:
    its first epoch for seed 0, which is also what looks evaluate, stands for it.

    A model with one linear layer and nothing else to train has a convex objective, provided that the loss is convex in
    the outputs, as the named losses are: the best is then the optimum, and the excess is never below 0 but for rounding.
    With an l2 above 0, |gradient|^2 / (2 l2) bounds what the solver may have missed. For any other model it is the best
    objective that the solver found from the run's own start, a local optimum of which there are many: the excess may
    then be below 0, and runs of one seed alone are counted from one zero.

    The solver runs once for a task (and seed, where the objective is not convex) and process. An evaluation costs one
    pass over the training set in double precision on the CPU, the solver up to `most_iterations` times three of them.

    Source: excess error of an optimisation, Bottou and Bousquet (2008), Advances in Neural Information Processing
    Systems 20; solver: L-BFGS, Liu and Nocedal (1989), Mathematical Programming 45, 503-528.

    Attributes:
        most_iterations: Of the solver.
        per_decade: Looks per factor of ten in steps.
    """

    most_iterations: int = 3000
    per_decade: int = 12

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
        return {"excess_objective": "loss", "best_objective": "loss"}

    @override
    def measure(self, snapshot: Snapshot) -> dict[str, float]:
        seed = 0 if _is_linear(snapshot.model) else snapshot.seed
        best = _best_objective(snapshot.task, seed, self.most_iterations)
        objective = _Objective(snapshot.task, snapshot.model)
        return {"excess_objective": objective.value() - best, "best_objective": best}


def _is_linear(model: nn.Module) -> bool:
    """Return whether all that the model does is one linear layer, after flattening."""
    leaves = [one for one in model.modules() if not list(one.children())]
    layers = [one for one in leaves if isinstance(one, nn.Linear)]
    rest = [one for one in leaves if not isinstance(one, (nn.Linear, nn.Flatten, nn.Identity))]
    inside = isinstance(model, (nn.Sequential, nn.Linear)) and all(
        isinstance(one, nn.Sequential) for one in model.modules() if list(one.children())
    )
    return inside and len(layers) == 1 and not rest


@functools.lru_cache(maxsize=KEPT)
def _best_objective(task: Task, seed: int, most_iterations: int) -> float:
    objective = _Objective(task, task.initialise(seed))
    start = parameters_to_vector(objective.trained).detach().numpy()
    options = {
        "maxiter": most_iterations,
        "maxfun": 3 * most_iterations,
        "maxcor": MEMORY,
        "ftol": 1e-15,
        "gtol": 1e-10,
    }
    found = minimize(objective.at, start, jac=True, method="L-BFGS-B", options=options)
    return float(found.fun)


class _Objective:
    """The objective of a task as a function of a flat vector of the trained parameters; the model is changed."""

    def __init__(self, task: Task, model: nn.Module) -> None:
        self.model = model.to("cpu", torch.float64).eval()
        self.losses, self.l2 = task.losses, task.l2
        self.data: Examples = _double(task)
        self.trained = [one for one in self.model.parameters() if one.requires_grad]

    @torch.no_grad()
    def value(self) -> float:
        """Return the objective at the model's parameters."""
        total = sum(self._sums(*piece) for piece in self.data.pieces(CHUNK))
        return float(total / len(self.data) + self.l2 / 2 * self._squares())

    def at(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """Return the objective at `flat`, shape (parameter,), and its gradient."""
        with torch.no_grad():
            vector_to_parameters(torch.from_numpy(flat), self.trained)
        for one in self.trained:
            one.grad = None
        value = 0.0
        for piece in self.data.pieces(CHUNK):
            part = self._sums(*piece) / len(self.data)
            part.backward()
            value += part.item()
        if self.l2:
            penalty = self.l2 / 2 * self._squares()
            penalty.backward()
            value += penalty.item()
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.trained]
        return value, parameters_to_vector(gradients).numpy()

    def _sums(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.losses(self.model(inputs), targets).sum()

    def _squares(self) -> torch.Tensor:
        return torch.stack([one.square().sum() for one in self.trained]).sum()


@functools.lru_cache(maxsize=2)
def _double(task: Task) -> Examples:
    return task.train.epoch(0, 0).to(torch.device("cpu"), torch.float64)
