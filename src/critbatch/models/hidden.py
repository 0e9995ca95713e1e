"""The hidden layers of any model: found by watching a forward pass, read, and silenced unit by unit."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from ..data import Examples
from ..randomness import generator
from ..task import Task

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
WEIGHTED = (nn.Linear, *CONVOLUTIONS)
ACTIVATIONS = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid,
    nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh,
    nn.Tanhshrink, nn.Threshold,
)  # fmt: skip
MOST_OBSERVATIONS = 16_384

See = Callable[[int, nn.Module, Tensor], Tensor | None]


@final
@dataclass(frozen=True, eq=False)
class HiddenLayer:
    """What the units of one hidden layer put out, and what they weigh.

    Attributes:
        event: Its place among the watched outputs of a forward pass.
        axis: Of that output along which its units lie.
        weights: One row for each unit: its incoming weights without the bias.
        outputs: One row for each example and place (pixels of a convolution, positions of a sequence); of more than
            16,384 rows as many are left, evenly spaced. In double precision on the CPU.
        places: Rows for each example before any were left out.
        rows: Which of them are left.
    """

    event: int
    axis: int
    weights: Float[Tensor, "unit input"]
    outputs: Float[Tensor, "observation unit"]
    places: int
    rows: Int[Tensor, " observation"]

    def labels(self, targets: Tensor) -> Int[Tensor, " observation"] | None:
        """Return the class of each row: of its example, or of its position where each has one; None without classes."""
        if targets.is_floating_point() or targets.is_complex():
            return None
        flat = targets.reshape(-1).cpu()
        if targets.dim() == 1:
            return flat[self.rows // self.places]
        whole = len(targets) * self.places == len(flat)
        return flat[self.rows] if whole else None


def reference_examples(task: Task, count: int, like: Tensor) -> Examples:
    """Return examples that no step was taken on: of the validation set, or of the test set if there is none.

    The same ones for every run and look: a fixed draw where the set has more than `count`.

    Args:
        task: What is trained.
        count: At most so many.
        like: A parameter of the model: says device and type of floating numbers.
    """
    part = task.test if task.validation is None else task.validation
    chosen = torch.randperm(len(part), generator=generator(0, "reference examples"))[:count].sort().values
    chosen = chosen.to(part.inputs.device)
    return Examples(part.inputs[chosen], part.targets[chosen]).to(like.device, like.dtype)


@torch.no_grad()
def hidden_layers(model: nn.Module, inputs: Tensor) -> list[HiddenLayer]:
    """Return the hidden layers of a model on some examples, in the order in which the forward pass comes to them.

    A hidden layer is a linear or convolutional layer other than the last one. Its units are the output features or
    channels; their output is read after the activation module that follows before the next such layer, or, where there
    is none, at the layer itself: activations that are written as functions in `forward` cannot be seen. A layer that a
    forward pass uses several times counts as often. Attention and its perceptron are made of linear layers and count;
    recurrent layers and torch's fused attention keep their inside to themselves and do not. Normalisation and pooling
    are no layers of their own; what follows the activation is not read.

    Args:
        model: Used in the mode it is in; parameters stay as they are.
        inputs: First axis is the example.

    Returns:
        Nothing for a linear model and for one whose layers are all of another kind.
    """
    seen: list[tuple[nn.Module, Tensor]] = []
    with _watching(model, lambda event, module, output: seen.append((module, output.detach().clone()))):
        model(inputs)
    weighted = [event for event, (module, _) in enumerate(seen) if isinstance(module, WEIGHTED)]
    found = []
    for event, following in itertools.pairwise(weighted):
        module, output = seen[event]
        axis = 1 if isinstance(module, CONVOLUTIONS) else output.dim() - 1
        units = output.shape[axis]
        between = range(event + 1, following)
        site = next((one for one in between if seen[one][1].shape[axis : axis + 1] == (units,)), event)
        found.append(_layer(site, axis, module, seen[site][1], len(inputs)))
    return found


@torch.no_grad()
def silenced(
    model: nn.Module, inputs: Tensor, layers: Sequence[HiddenLayer], kept: Sequence[Bool[Tensor, " _"]]
) -> Tensor:  # fmt: skip
    """Return a model's outputs where the units that are not kept put out 0.

    Args:
        model: That the layers were found in.
        inputs: First axis is the example.
        layers: As `hidden_layers` returned them.
        kept: For each of them, which units speak.
    """
    masks = {layer.event: (layer.axis, mask) for layer, mask in zip(layers, kept, strict=True)}
    with _watching(model, lambda event, _, output: _masked(output, *masks[event]) if event in masks else None):
        return model(inputs)


def _masked(output: Tensor, axis: int, mask: Tensor) -> Tensor:
    shape = [len(mask) if at == axis else 1 for at in range(output.dim())]
    return output * mask.to(output.device, output.dtype).reshape(shape)


@contextmanager
def _watching(model: nn.Module, see: See) -> Iterator[None]:
    """Call `see` with place, module and output of every layer and activation of a forward pass; it may replace it."""
    places = itertools.count()
    watched = [one for one in model.modules() if isinstance(one, WEIGHTED + ACTIVATIONS)]
    handles = [
        one.register_forward_hook(lambda module, _, output: see(next(places), module, output)) for one in watched
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _layer(event: int, axis: int, module: nn.Module, output: Tensor, examples: int) -> HiddenLayer:
    flat = output.movedim(axis, -1).reshape(-1, output.shape[axis])
    count = min(len(flat), MOST_OBSERVATIONS)
    rows = torch.linspace(0, len(flat) - 1, count, dtype=torch.float64).round().long()
    weight = module.weight
    assert isinstance(weight, Tensor)
    weights, outputs = (
        one.to("cpu", torch.float64) for one in (weight.detach().flatten(1), flat[rows.to(flat.device)])
    )
    return HiddenLayer(event, axis, weights, outputs, len(flat) // examples, rows)
