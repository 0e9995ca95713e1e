"""One training step as a pure function of tensors: what the compiled and the stacked engine are made from."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..optimizer import Optimizer
from ..task import Task

SIGNED = 8  # examples


class State(NamedTuple):
    """All that is a replica's own, in a fixed order: trained parameters, the optimizer's slots for each, and the rest."""

    parameters: list[Tensor]
    slots: list[list[Tensor]]
    buffers: list[Tensor]


@final
@dataclass(frozen=True)
class Step:
    """The step of one replica. `model` gives the structure: its own numbers are not used but for frozen parameters.

    Attributes:
        trained: Names of the parameters that the optimizer changes.
        kept: Names of what training carries along without a gradient: buffers, and parameters that are frozen.
    """

    task: Task
    model: nn.Module
    optimizer: Optimizer
    trained: tuple[str, ...]
    kept: tuple[str, ...]

    def start(self, model: nn.Module) -> State:
        """Return copies of a model's numbers, with the optimizer's slots at zero."""
        held = _tensors(model)
        chosen, kept = (
            [held[name].detach().clone(memory_format=torch.contiguous_format) for name in names]
            for names in (self.trained, self.kept)
        )
        slots = [[torch.zeros_like(one) for _ in range(self.optimizer.slots)] for one in chosen]
        return State(chosen, slots, kept)

    @torch.no_grad()
    def finish(self, state: State, model: nn.Module) -> None:
        """Write the numbers of a state into `model`."""
        held = _tensors(model)
        for name, value in zip((*self.trained, *self.kept), (*state.parameters, *state.buffers), strict=True):
            held[name].copy_(value)

    def __call__(
        self, state: State, inputs: Tensor, targets: Tensor, coefficients: Sequence[Tensor]
    ) -> tuple[Tensor, State]:
        """Return the mean loss of a batch at the state, and the state after the step. Nothing is changed in place.

        Args:
            state: Before the step.
            inputs: First axis is the example.
            targets: First axis is the example.
            coefficients: What `Optimizer.update` needs: scalar tensors.
        """

        def objective(parameters: list[Tensor]) -> tuple[Tensor, tuple[Tensor, list[Tensor]]]:
            buffers = [one.clone() for one in state.buffers]
            places = dict(zip(self.trained, parameters, strict=True)) | dict(zip(self.kept, buffers, strict=True))
            outputs = functional_call(self.model, places, (inputs,))
            loss = self.task.losses(outputs, targets).sum() / len(targets)
            return loss, (loss, buffers)

        gradients, (_, (loss, buffers)) = grad_and_value(objective, has_aux=True)(state.parameters)
        if self.task.l2:
            gradients = [one + self.task.l2 * of for one, of in zip(gradients, state.parameters, strict=True)]
        if self.optimizer.clip_norm is not None:
            gradients = clipped(gradients, self.optimizer.clip_norm)
        moved = self.optimizer.update_all(state.parameters, gradients, state.slots, coefficients)
        return loss, State(*moved, buffers)


def clipped(gradients: list[Tensor], most: float) -> list[Tensor]:
    """Return gradients scaled so that their joint norm is at most `most`, as `torch.nn.utils.clip_grad_norm_` does."""
    norm = torch.stack([one.square().sum() for one in gradients]).sum().sqrt()
    factor = (most / (norm + 1e-6)).clamp(max=1.0)
    return [one * factor for one in gradients]


def step_of(task: Task, optimizer: Optimizer, dtype: torch.dtype) -> Step:
    """Return the step of `task` in train mode.

    Parameters that a backward pass does not reach are left out, as `torch.optim` leaves out those without a gradient;
    under an L2 penalty all have one.
    """
    model = task.initialise(0).to(dtype).train()
    few = task.train.epoch(0, 0).to(torch.device("cpu"), dtype)
    with torch.random.fork_rng(devices=[]):
        outputs = model(few.inputs[:2])
        task.losses(outputs, few.targets[:2]).sum().backward()
    named = [(name, one) for name, one in model.named_parameters() if one.requires_grad]
    trained = tuple(name for name, one in named if task.l2 or one.grad is not None)
    model = task.initialise(0).to(dtype).train()
    return Step(task, model, optimizer, trained, tuple(name for name in _tensors(model) if name not in trained))


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def signature(task: Task, dtype: torch.dtype) -> str:
    """Return a digest of what a step computes that neither the layers' names nor evaluation mode show.

    Loss, metric and gradients of some examples in train mode to the last digit, and the names, shapes and types of all
    that is trained, kept or read.
    """
    model = task.initialise(0).to(dtype).train()
    few = task.train.epoch(0, 0).to(torch.device("cpu"), dtype)
    digest = hashlib.blake2b(repr((task.l2, task.metric.name)).encode(), digest_size=16)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        outputs = model(few.inputs[:SIGNED])
        losses = task.losses(outputs, few.targets[:SIGNED])
        losses.sum().backward()
    values = task.metric.values(outputs.detach(), few.targets[:SIGNED])
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    for one in (losses.detach(), values, *gradients, *model.buffers()):
        digest.update(one.detach().double().contiguous().numpy().tobytes())
    facts = [(name, tuple(one.shape), str(one.dtype), one.requires_grad) for name, one in _tensors(model).items()]
    data = [(tuple(one.shape[1:]), str(one.dtype)) for one in (few.inputs, few.targets)]
    digest.update(repr((facts, data)).encode())
    return digest.hexdigest()


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """Use attention kernels that are made of plain operations."""
    with sdpa_kernel(SDPBackend.MATH):
        yield
