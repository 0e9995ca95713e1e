"""Tasks made from the descriptions of test beds."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional

from .bed import TESTED, VALIDATED, Bed
from .data import Examples
from .datasets.cifar import cifar10
from .datasets.digits import digits
from .datasets.idx import fashion_mnist, mnist
from .datasets.splits import Splits, stratified
from .datasets.spoken import spoken_digits
from .datasets.twelve_bits import twelve_bits
from .datasets.uci import uci
from .models.ghost import GhostBatchNorm
from .models.linear import linear
from .models.mlp import mlp
from .objective import squared_error
from .randomness import generator
from .task import Task

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
IMAGES = {"mnist": (mnist, 28), "fashion-mnist": (fashion_mnist, 28)}


def build(bed: Bed) -> Task:
    """Return the task that `bed` describes; data are read from CRITBATCH_DATA, but for the digits.

    Raises:
        ValueError: If there are no such data, or too few of them.
    """
    data = _data(bed)
    classes = int(max(part.targets.max() for part in (data.train, data.validation, data.test))) + 1
    inputs = data.train.inputs[0].numel()
    task = Task(
        name=bed.name,
        model=partial(
            network, (inputs, *bed.hidden, classes), bed.activation, bed.norm, bias=bed.bias, start=bed.start
        ),
        train=_repeated(data.train, bed, classes),
        validation=data.validation,
        test=data.test,
        l2=bed.l2,
        loss=partial(LOSSES[bed.loss], smoothing=bed.label_smoothing),
    )
    return task.from_source(partial(build, bed))


def network(
    sizes: tuple[int, ...], activation: str, norm: str, *, bias: bool = True, start: float = 1.0
) -> nn.Module:  # fmt: skip
    """Return a multilayer perceptron; see `Bed` for the words.

    Raises:
        ValueError: If `activation` or `norm` is unknown, or a network with hidden layers is to have no bias.
    """
    model = _layers(sizes, activation, norm, bias=bias)
    if start != 1.0:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(start)
    return model


def _layers(sizes: tuple[int, ...], activation: str, norm: str, *, bias: bool) -> nn.Module:
    """Return the network as PyTorch starts it.

    Raises:
        ValueError: If `activation` or `norm` is unknown, or a network with hidden layers is to have no bias.
    """
    if activation not in ACTIVATIONS or not (norm in {"none", "batch"} or norm.startswith("ghost-")):
        raise ValueError(f"`Bed(activation={activation!r}, norm={norm!r})`: unknown. See `critbatch.bed.Bed`.")
    if len(sizes) == 2:
        return linear(*sizes, bias=bias)
    if not bias:
        raise ValueError("`Bed(bias=False)`: only a linear model, `hidden=()`, can be without. Leave it at True.")
    if not norm.startswith("ghost-"):
        return mlp(sizes, ACTIVATIONS[activation], batch_norm=norm == "batch")
    ghost = int(norm.removeprefix("ghost-"))
    return mlp(sizes, ACTIVATIONS[activation], normalisation=partial(GhostBatchNorm, ghost_size=ghost))


def smoothed_cross_entropy(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the cross-entropy of each example, to labels of which all classes share `smoothing`."""
    return functional.cross_entropy(outputs, targets, reduction="none", label_smoothing=smoothing)


def one_hot_squared_error(outputs: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the squared error of each example to its one-hot label."""
    classes = torch.arange(outputs.shape[-1], device=targets.device)
    wanted = (targets[:, None] == classes).to(outputs.dtype)  # torch's one_hot looks at the data and cannot be compiled
    return squared_error(outputs, wanted * (1 - smoothing) + smoothing / outputs.shape[-1])


LOSSES: dict[str, Callable[..., Tensor]] = {
    "cross_entropy": smoothed_cross_entropy, "squared_error": one_hot_squared_error,
}  # fmt: skip


def _data(bed: Bed) -> Splits:
    """Return the three sets; the training set is the first `bed.train` of a stratified order, the same at every size.

    Raises:
        ValueError: If there are no such data, or too few of them.
    """
    if bed.data in IMAGES:
        load, full = IMAGES[bed.data]
        most = 58_000 if bed.train > 16_000 else 16_000  # one order for all sizes in reach
        data = load(train=most, validation=VALIDATED[bed.data], test=TESTED[bed.data], pool=full // bed.side)
    elif bed.data == "cifar10":
        data = cifar10()
    elif bed.data.startswith("uci-"):
        data, _ = uci(bed.data.removeprefix("uci-"))
    elif bed.data == "twelve-bits":
        data = twelve_bits(train=bed.train, validation=VALIDATED[bed.data], in_order=bed.in_order)
    elif bed.data in {"digits", "spoken-digits"}:
        data = digits() if bed.data == "digits" else spoken_digits()
    else:
        raise ValueError(f"`Bed(data={bed.data!r})`: unknown. See `critbatch.bed.Bed`.")
    if bed.classes:
        data = Splits(*(_kept(part, bed.classes) for part in (data.train, data.validation, data.test)))
    if bed.train > len(data.train):
        raise ValueError(f"`Bed(data={bed.data!r}, train={bed.train})`: there are {len(data.train)} training examples.")
    every = (len(data.train),)
    order = (
        torch.arange(*every) if bed.in_order else stratified(data.train.targets, every, generator(bed.draw, "bed"))[0]
    )
    first = order[: bed.train]
    return Splits(Examples(data.train.inputs[first], data.train.targets[first]), data.validation, data.test)


def _kept(part: Examples, classes: int) -> Examples:
    chosen = (part.targets < classes).nonzero()[:, 0]
    return Examples(part.inputs[chosen], part.targets[chosen])


def relabelled(count: int, share: float) -> Int[Tensor, " relabelled"]:
    """Return which of `count` distinct training examples have their labels drawn anew in a bed with `random_labels`.

    Args:
        count: Training examples, without copies.
        share: Of them.
    """
    return torch.randperm(count, generator=generator(0, "which labels"))[: round(share * count)]


def _repeated(part: Examples, bed: Bed, classes: int) -> Examples:
    targets = part.targets.clone()
    if bed.random_labels:
        chosen = relabelled(len(targets), bed.random_labels)
        targets[chosen] = torch.randint(classes, (len(chosen),), generator=generator(0, "random labels"))
    times = (bed.copies,) + (1,) * (part.inputs.dim() - 1)
    return Examples(part.inputs.repeat(times), targets.repeat(bed.copies))
