"""What is trained: a model, its data, a loss per example, a metric and a target."""

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Self, final

import torch
from torch import Tensor, nn

from .data import Examples, Stream, examples
from .objective import LOSSES, METRICS, Direction, Metric, PerExample
from .randomness import seed_of

TRAIN_LOOK_EXAMPLES = 2000


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
        revision: Identifies the code and data behind the task. The default is a fingerprint of the data and of the
            losses of a fixed initialisation, so that changed data or code never meets old results.
        source: A picklable function without arguments that makes this task again in another process.

    Raises:
        ValueError: If data, outputs or labels do not fit together, with the numbers.
        TypeError: If an argument is of a kind that cannot be used.
    """

    def __init__(
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
        if not l2 >= 0:
            raise ValueError(f"`Task(l2={l2})`: a penalty cannot be negative. Give 0 or more.")
        if len(self.train) < 1:
            raise ValueError(f"`Task(train=Stream(size={len(self.train)}))`: an epoch needs at least one example.")
        losses = self._check_outputs()
        self.target: Target | None = self._resolve(target)
        self.revision: str = revision or self._fingerprint(losses)

    def initialise(self, seed: int) -> nn.Module:
        """Return a new model whose parameters depend on `seed` alone. The global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, "initialisation"))
            return self.model()

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
        if not isinstance(first, nn.Module):
            raise TypeError(f"`Task(model=...)`: the factory returned {type(first).__name__}, not a torch.nn.Module.")
        shared = {id(parameter) for parameter in first.parameters()} & {
            id(parameter) for parameter in second.parameters()
        }
        if first is second or shared:
            raise ValueError(
                "`Task(model=...)`: the factory returned the same module twice, so that every run would go on where the "
                "last one stopped. Build a new module in each call."
            )
        if not any(parameter.requires_grad for parameter in first.parameters()):
            raise ValueError(
                "`Task(model=...)`: the module has no parameter to train. Build all layers in the factory."
            )
        first.eval()
        return torch.cat([self._try(first, part, split) for split, part in self.splits.items()])

    @torch.no_grad()
    def _try(self, model: nn.Module, part: Examples, split: str) -> Tensor:
        inputs, targets = part.inputs[:8], part.targets[:8]
        dtype = next(model.parameters()).dtype
        few = Examples(inputs, targets).to(torch.device("cpu"), dtype)
        try:
            outputs = model(few.inputs)
        except Exception as error:
            raise ValueError(
                f"Task {self.name!r}: the model cannot take the {split} inputs of shape {tuple(inputs.shape)} and type "
                f"{inputs.dtype}: {type(error).__name__}: {error}. Check the input shape that the model expects."
            ) from error
        self._check_labels(outputs, part.targets, split)
        for kind, function in (("loss", self.losses), (f"metric {self.metric.name!r}", self.metric.values)):
            try:
                values = function(outputs, few.targets)
            except Exception as error:
                raise ValueError(
                    f"Task {self.name!r}: the {kind} fails on {split} outputs of shape {tuple(outputs.shape)} and targets "
                    f"of shape {tuple(few.targets.shape)}, {few.targets.dtype}: {type(error).__name__}: {error}."
                ) from error
            if tuple(values.shape) != (len(inputs),):
                raise ValueError(
                    f"Task {self.name!r}: the {kind} returned shape {tuple(values.shape)} for {len(inputs)} examples. "
                    "Return one value per example; do not reduce."
                )
        return self.losses(outputs, few.targets)

    def _check_labels(self, outputs: Tensor, targets: Tensor, split: str) -> None:
        if self.losses is not LOSSES["cross_entropy"]:
            return
        if targets.is_floating_point() or targets.ndim != outputs.ndim - 1:
            raise ValueError(
                f"Task {self.name!r}: cross-entropy needs integer class labels of shape {tuple(outputs.shape[:-1])}, got "
                f"{split} targets of {targets.dtype} with shape {tuple(targets.shape)}. Convert them to class indices."
            )
        low, high, classes = int(targets.min()), int(targets.max()), outputs.shape[-1]
        if low < 0 or high >= classes:
            raise ValueError(
                f"Task {self.name!r}: {split} labels run from {low} to {high}, but the model has {classes} outputs: labels "
                f"must be 0 to {classes - 1}. Renumber the labels or widen the last layer."
            )

    def _fingerprint(self, losses: Tensor) -> str:
        digest = hashlib.blake2b(digest_size=8)
        sets = [self.train.epoch(0, 0), self.test] + ([] if self.validation is None else [self.validation])
        for part in sets:
            for tensor in (part.inputs, part.targets):
                digest.update(repr((tuple(tensor.shape), str(tensor.dtype))).encode())
                digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        shapes = [(name, tuple(value.shape)) for name, value in self.initialise(0).state_dict().items()]
        described = (self.metric.name, self.metric.better, len(self.train), shapes, self.l2)
        digest.update(repr((described, [f"{value:.4g}" for value in losses.tolist()])).encode())
        return digest.hexdigest()


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
