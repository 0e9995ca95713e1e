"""What is trained: a model, its data, a loss per example, a metric and a target."""

import dataclasses
import hashlib
import math
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, final

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .data import Examples, Stream, examples
from .keras_model import as_module
from .objective import LOSSES, METRICS, Direction, Metric, PerExample, misfit
from .randomness import seed_of

TRAIN_LOOK_EXAMPLES = 2000
TRIED_EXAMPLES = 8
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


@final
@dataclass(frozen=True)
class Target:
    """A quantity and the value it must stay past, for example `Target("test_accuracy", 0.95)`.

    The quantity is a split (train, validation, test) and a name (loss or the task's metric). The direction is the one
    that the metric declares unless it is written here.
    """

    quantity: str
    value: float
    direction: Literal["above", "below", "declared"] = "declared"

    def __post_init__(self) -> None:
        if self.direction not in ("above", "below", "declared"):
            raise ValueError(f"`Target(direction={self.direction!r})`: use 'above', 'below' or 'declared'.")
        if not math.isfinite(self.value):
            raise ValueError(f"`Target(value={self.value})`: no run can reach it. Give a finite number.")


@final
class Task:
    """A problem to train on. Everything is checked here, before any training starts.

    Args:
        name: Short name, used in results and file names.
        model: Called without arguments, returns a new, freshly initialised module each time.
        train: Training data: see `critbatch.data.examples`, or a `Stream` of fresh examples.
        test: Test data. Reported, and used to choose learning rates only when there is no `validation`.
        loss: A name (cross_entropy, squared_error, binary_cross_entropy) or a function of outputs and targets that
            returns one value per example.
        metric: A name (accuracy, binary_accuracy, squared_error), a `Metric`, or None to use the loss.
        target: What counts as trained.
        validation: Data for choosing learning rates.
        l2: Strength of the penalty l2/2 |parameters|^2 that is part of the objective.
        revision: Identifies the code and data behind the task. The default is a fingerprint of the data, the layers,
            and the losses and metrics of a fixed initialisation, so that changed data or code never meets old results.
        source: A picklable function without arguments that makes this task again in another process.

    Raises:
        ValueError: If data, outputs or labels do not fit together, with the numbers.
        TypeError: If an argument is of a kind that cannot be used.
    """

    def __init__(  # noqa: PLR0913  a task has this many parts
        self, *, name: str, model: Callable[[], nn.Module], train: Any, test: Any,
        loss: str | PerExample = "cross_entropy", metric: str | Metric | None = "accuracy",
        target: Target | None = None, validation: Any = None, l2: float = 0.0, revision: str | None = None,
        source: Callable[[], "Task"] | None = None,
    ) -> None:  # fmt: skip
        self.name: str = name
        self.model: Callable[[], nn.Module] = model
        self.train: Examples | Stream = train if isinstance(train, Stream) else examples(train, "train")
        self.test: Examples = examples(test, "test")
        self.validation: Examples | None = None if validation is None else examples(validation, "validation")
        self.losses: PerExample = _loss(loss)
        self.metric: Metric = _metric(metric, self.losses)
        self.l2: float = l2
        self.source: Callable[[], Task] | None = source
        if not name or any(character in "/\\\0" for character in name):
            raise ValueError(
                f"`Task(name={name!r})`: it becomes part of file names. Use letters, digits and underscores."
            )
        if isinstance(model, nn.Module):
            raise TypeError(
                f"`Task(model=...)`: got a {type(model).__name__}; every run starts from a new module. "
                "Give a function that builds it, for example `lambda: MyModel()`."
            )
        if not 0 <= l2 < math.inf:
            raise ValueError(f"`Task(l2={l2})`: a penalty cannot be negative or infinite. Give 0 or more.")
        if len(self.train) < 1:
            raise ValueError(f"`Task(train=Stream(size={len(self.train)}))`: an epoch needs at least one example.")
        values = self._check_outputs()
        self.target: Target | None = self._resolve(target)
        self.revision: str = revision or self._fingerprint(values)

    def initialise(self, seed: int) -> nn.Module:
        """Return a new model whose parameters depend on `seed` alone. The global random state is left as it was.

        A Keras model on PyTorch becomes a `critbatch.keras_model.KerasModel`.

        Raises:
            TypeError: If the factory returns something else.
        """
        drawn = random.getstate()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, "initialisation"))
            random.seed(seed_of(seed, "initialisation"))  # Keras draws from it
            model = as_module(self.model())
        random.setstate(drawn)
        if not isinstance(model, nn.Module):
            raise TypeError(f"`Task(model=...)`: the factory returned {type(model).__name__}, not a torch.nn.Module.")
        return model

    @property
    def splits(self) -> dict[str, Examples]:
        """Return the sets that looks evaluate, by name; of the training set a fixed sample of at most 2,000."""
        train = self.train.epoch(0, 0)
        if len(train) > TRAIN_LOOK_EXAMPLES:
            draw = torch.Generator().manual_seed(seed_of(0, "train look"))
            chosen = torch.randperm(len(train), generator=draw)[:TRAIN_LOOK_EXAMPLES]
            train = Examples(train.inputs[chosen], train.targets[chosen])
        optional = {} if self.validation is None else {"validation": self.validation}
        return {"train": train, "test": self.test, **optional}

    @property
    def selection_split(self) -> str:
        """Return the split on which learning rates are chosen: validation where there is one, else test."""
        return "test" if self.validation is None else "validation"

    def from_source(self, source: Callable[[], "Task"]) -> Self:
        """Set where other processes can make this task again, and return it."""
        self.source = source
        return self

    def __reduce__(self) -> Any:
        if self.source is not None:
            return self.source, ()
        return _rebuild, (self.__dict__,)

    def better(self, quantity: str) -> Direction:
        """Return which way `quantity` improves.

        Raises:
            ValueError: If the task records no such quantity.
        """
        known: dict[str, Direction] = {}
        for split in ("train", "test") + (("validation",) if self.validation is not None else ()):
            known[f"{split}_loss"] = "below"
            known[f"{split}_{self.metric.name}"] = self.metric.better
        if self.l2:
            known["train_objective"] = "below"
        if quantity not in known:
            raise ValueError(
                f"`Target(quantity={quantity!r})`: task {self.name!r} records no such quantity. "
                f"Use one of {', '.join(sorted(known))}."
            )
        return known[quantity]

    def _resolve(self, target: Target | None) -> Target | None:
        if target is None:
            return None
        declared = self.better(target.quantity)
        return target if target.direction != "declared" else dataclasses.replace(target, direction=declared)

    def _check_outputs(self) -> Tensor:
        first, second = self.initialise(0), self.initialise(0)
        _check_modules(first, second)
        first.eval()
        return torch.cat([self._try(first, part, split) for split, part in self.splits.items()])

    @torch.no_grad()
    def _try(self, model: nn.Module, part: Examples, split: str) -> Tensor:
        inputs, targets = part.inputs[:TRIED_EXAMPLES], part.targets[:TRIED_EXAMPLES]
        device, dtype = next((parameter.device, parameter.dtype) for parameter in model.parameters())
        few = Examples(inputs, targets).to(device, dtype)
        try:
            outputs = model(few.inputs)
        except Exception as error:
            raise ValueError(
                f"Task {self.name!r}: the model cannot take the {split} inputs of shape {tuple(inputs.shape)} and type "
                f"{inputs.dtype}: {type(error).__name__}: {error}. Check the shape and type that the model expects."
            ) from error
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"Task {self.name!r}: the model returned {type(outputs).__name__}, not a tensor. "
                "Give a module whose forward returns the outputs alone."
            )
        if wrong := misfit(outputs, part.targets, (self.losses, self.metric.values)):
            raise ValueError(f"Task {self.name!r}, {split} set: {wrong}")
        tried = (("loss", self.losses), (f"metric {self.metric.name!r}", self.metric.values))
        return torch.cat([self._values(kind, function, outputs, few.targets, split) for kind, function in tried])

    def _values(self, kind: str, function: PerExample, outputs: Tensor, targets: Tensor, split: str) -> Tensor:
        try:
            values = function(outputs, targets)
        except Exception as error:
            raise ValueError(
                f"Task {self.name!r}: the {kind} fails on {split} outputs of shape {tuple(outputs.shape)} and targets "
                f"of shape {tuple(targets.shape)}, {targets.dtype}: {type(error).__name__}: {error}."
            ) from error
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        if shape != (len(targets),):
            raise ValueError(
                f"Task {self.name!r}: the {kind} returned shape {shape} for {len(targets)} examples. "
                "Return one value per example; do not reduce."
            )
        if bad := int((~values.isfinite()).sum()):
            raise ValueError(
                f"Task {self.name!r}: before training, the {kind} of {bad} of {len(targets)} {split} examples is NaN "
                "or infinite. Check the initialisation and the scale of the inputs."
            )
        return values.to("cpu", torch.float64)

    def _fingerprint(self, values: Tensor) -> str:
        digest = hashlib.blake2b(digest_size=8)
        sets = [self.train.epoch(0, 0), self.test] + ([] if self.validation is None else [self.validation])
        for part in sets:
            for tensor in (part.inputs, part.targets):
                digest.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
                digest.update(tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
        model = self.initialise(0)
        shapes = [(name, tuple(value.shape)) for name, value in model.state_dict().items()]
        layers = ADDRESS.sub("", repr(model))  # shows what no loss shows in evaluation mode: dropout, momentum
        described = (self.metric.name, self.metric.better, len(self.train), shapes, layers, self.l2)
        digest.update(repr((described, [f"{value:.4g}" for value in values.tolist()])).encode())
        return digest.hexdigest()


def _check_modules(first: nn.Module, second: nn.Module) -> None:
    """Check that a factory called twice with one seed returns new, equal and complete modules.

    Raises:
        ValueError: If the modules are one, unequal, or have nothing to train.
    """
    shared = {id(one) for one in first.parameters()} & {id(one) for one in second.parameters()}
    if first is second or shared:
        raise ValueError(
            "`Task(model=...)`: the factory returned the same module twice, so that every run would go on where the "
            "last one stopped. Build a new module in each call."
        )
    if any(is_lazy(one) for one in first.parameters()):
        raise ValueError(
            "`Task(model=...)`: the module has lazy layers, whose shapes are not known yet. Name their input sizes."
        )
    if not any(one.requires_grad for one in first.parameters()):
        raise ValueError("`Task(model=...)`: the module has no parameter to train. Build all layers in the factory.")
    pairs = zip(first.named_parameters(), second.named_parameters(), strict=True)
    if unequal := [name for (name, one), (_, other) in pairs if not torch.equal(one, other)]:
        raise ValueError(
            f"`Task(model=...)`: two calls with one random seed gave different {unequal[0]!r}, so that no run could be "
            "repeated. Build it on the CPU and draw initial values from torch's global generator, which is seeded."
        )


def _rebuild(state: dict[str, Any]) -> Task:
    task = Task.__new__(Task)
    task.__dict__.update(state)
    return task


def _loss(loss: str | PerExample) -> PerExample:
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(f"`Task(loss={loss!r})`: unknown. Use one of {', '.join(sorted(LOSSES))}, or a function.")
    return LOSSES[loss]


def _metric(metric: str | Metric | None, losses: PerExample) -> Metric:
    if isinstance(metric, Metric):
        return metric
    if metric is None:
        return Metric("loss", losses, "below")
    if metric not in METRICS:
        raise ValueError(f"`Task(metric={metric!r})`: unknown. Use one of {', '.join(sorted(METRICS))}, or a `Metric`.")
    return METRICS[metric]
