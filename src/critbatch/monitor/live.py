"""The gradient-noise monitor of a live training."""

import functools
import logging
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self, final

import numpy as np
import torch
from torch import Tensor, nn

from ..tracker import Tracker
from .follow import Follow
from .history import History, Measured, Parts, Reading, ratio, read
from .losses import summed
from .parts import held, parts_of, trained
from .passes import UNLIKE, Heard, Passes, squared_norm
from .preconditioner import precision, running_squares
from .ranks import gathered, is_sharded, world_size
from .sharpness import batch_sharpness
from .step import ALL, Step, UnmeasurableError
from .tap import TapUnavailableError, tap
from .window import Reduction, check_options, moments

log = logging.getLogger("critbatch.monitor")

Unit = Literal["auto", "example", "micro_batch"]
LAST = 200  # measured steps that a reading is of
PATIENCE = 3  # measured steps in a row that gave nothing, before the monitor says why


def _guarded(self: "GradientNoiseMonitor", hook: Callable[..., None]) -> Callable[..., None]:
    """Return a hook that switches the monitor off instead of stopping a training."""

    def safe(*positional: Any, **keywords: Any) -> None:
        if self.why_off is not None:
            return
        try:
            hook(*positional, **keywords)
        except Exception as error:  # noqa: BLE001  whatever it is, training goes on
            why = str(error) if isinstance(error, UnmeasurableError) else f"{type(error).__name__}: {error}"
            self._trouble = self._trouble or why  # what follows from the first is of no use to anyone

    return safe


@final
class GradientNoiseMonitor:
    """Measures the gradient noise of a training that goes on as if it were not there.

        monitor = cb.GradientNoiseMonitor(model, optimizer)
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss(model(inputs), targets).backward()
            optimizer.step()
        print(monitor.reading().sentence)

    At every `every`-th step, from the second on, it reads the norms of the gradients of parts of the batch, and that of
    the gradient as a whole, all at the same parameters, before clipping, weight decay and unscaling: parts are the
    micro-batches where gradients are accumulated, the processes' batches where several train together, else single
    examples (norms without the gradients, see `critbatch.ghost`). Weights come out bit for bit as without it. Whatever
    goes wrong in it is said once in the log, and ends the monitor, not the training.

    With BatchNorm no gradient of a single example exists; micro-batches then measure the ghost-batch objective at their
    size. A loss that couples examples otherwise (contrastive, ranking) is no mean over them: what is reported then is not
    its noise, and the monitor cannot know.

    Cost: a norm of each gradient and, with `alignment`, a copy of it, in measured steps; with single examples more.
    Other steps are not listened to, but for the one after each measured step with `alignment`.

    Args:
        model: As it is called in training: wrapped by DDP, sharded by `fully_shard`, or compiled.
        optimizer: A `torch.optim.Optimizer`, or a wrapper that has it as `.optimizer`.
        every: Steps from one measured step to the next.
        unit: Parts whose norms are taken: "example", "micro_batch", or "auto".
        most: Of single examples, the norms of so many a batch, drawn at random: tr(Sigma) stays unbiased. None for all.
        reduction: What the loss of each backward is, see `REDUCTIONS`.
        counted_in: What `batch` counts, for the reader: examples or tokens.
        scaler: The `GradScaler` of mixed precision in float16.
        population: Size of the training set, if its own |G|^2 is meant (many epochs), not that of the distribution.
        alignment: Whether to watch if a step's gradient still helps at the next.
        level: Of the intervals.
        trackers: Where numbers go at each measured step; with several processes give them to one.
        group: Process group of the training, None for all.

    Raises:
        ValueError: If an argument is out of range or the optimizer trains nothing of the model.
    """

    def __init__(  # noqa: PLR0913
        self, model: nn.Module, optimizer: Any, *, every: int = 10, unit: Unit = "auto", most: int | None = 32,
        reduction: Reduction = "mean", counted_in: str = "examples", scaler: Any = None, population: int | None = None,
        alignment: bool = True, level: float = 0.95, trackers: Sequence[Tracker] = (), group: Any = None,
    ) -> None:  # fmt: skip
        check_options(every=every, unit=unit, most=most, reduction=reduction, level=level)
        self.model = model
        self.optimizer: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
        self.every, self.unit, self.most, self.reduction, self.counted_in = every, unit, most, reduction, counted_in
        self.scaler, self.population, self.alignment, self.level = scaler, population, alignment, level
        self.trackers, self.group = tuple(trackers), group
        self.history = History()
        self.messages: list[str] = []
        self.steps = 0
        self.why_off: str | None = None
        self._said: set[str] = set()
        self._trouble: str | None = None
        self._fruitless = 0
        self._checked = False
        self._batch: float | Tensor | None = None
        self._loss: Tensor | None = None
        self._guard = functools.partial(_guarded, self)
        self._route: str | None = None if unit == "auto" else unit
        if world_size(group) > 1 and unit == "auto":
            self._route = "micro_batch"
        self._named, self._held = trained(model, self.optimizer), held(self.optimizer)
        self._outside = getattr(getattr(self.optimizer, "original", None), "accumulated", None)
        if not self._named:
            raise ValueError(
                "`GradientNoiseMonitor(model, optimizer)`: the optimizer trains no parameter of the model. Give the "
                "optimizer that was made from this model's parameters."
            )
        self._is_sharded = is_sharded(model)
        self._restore = self._tap() if self._is_sharded and self._route == "micro_batch" else None
        self._names = [ALL] if self._restore else list(self._named)
        self._follow = Follow(self._named, self.optimizer, group) if alignment else None
        self._passes = Passes(model, self._named, self._ended, self._guard)
        hooks = self._guard(self._before_step), self._guard(self._after_step)
        self._handles = [
            self.optimizer.register_step_pre_hook(hooks[0]), self.optimizer.register_step_post_hook(hooks[1])
        ]  # fmt: skip
        self._prepare()

    def _tap(self) -> Callable[[], None] | None:
        """Read the local gradients of a sharded model, whose parameters never have them."""

        def add(gradient: Tensor, divisor: int) -> None:
            self._step.flat = self._step.flat + divisor**2 * squared_norm(gradient)

        try:
            return tap(self.model, self._guard(add), world_size(self.group))
        except TapUnavailableError as error:
            self._say("tap", f"{error}. Accumulate gradients over 2 backwards or more: what each adds is read instead.")
            return None

    def batch(self, sizes: float | Tensor) -> None:
        """Say how much the next backward is of, where the number of rows of the first input does not.

        Args:
            sizes: Examples or tokens; or the tokens of each example, shape (example,).
        """
        self._batch = sizes

    def observe(self, loss: Tensor) -> None:
        """Look at a loss before its backward: its value (for CABS), and whether it is a sum where a mean was declared."""
        self._loss = loss.detach()
        if summed(loss) and self.reduction not in ("sum", "share"):
            self._say(
                "sum",
                f"the loss is a sum over its examples, and reduction={self.reduction!r} was declared. Give reduction='sum': "
                "as it is, moments are off by the square of the batch size, and unequal micro-batches by their sizes.",
            )

    def measure_sharpness(self, loss: Callable[[], Tensor]) -> float | None:
        """Measure the curvature along the gradient of the current batch: one forward and two backward passes more.

        Args:
            loss: Computes the mean loss of the batch anew, before the optimizer's step.

        Returns:
            g'Hg/|g|^2; None where it cannot be measured (the reason is among the messages).
        """
        self._passes.deafen(True)
        try:
            found = batch_sharpness(self.model, list(self._named.values()), loss)
        except RuntimeError as error:
            self._say("sharpness", f"batch sharpness cannot be measured: {error}")
            return None
        finally:
            self._passes.deafen(False)
        if math.isfinite(found):
            self.history.sharpness.append(found)
        return found

    def reading(self, *, last: int = LAST) -> Reading:
        """Return what the `last` measured steps say."""
        places = Parts({}, {}, []) if self._names == [ALL] else parts_of(self.model, self.optimizer, self._named)
        return read(
            self.history, places, step=self.steps, unit=self.counted_in, level=self.level, last=last,
            is_plain_sgd=self._follow is not None and self._follow.is_plain_sgd, messages=self.messages,
            population=self.population,
        )  # fmt: skip

    def close(self) -> None:
        """Take everything out of the model and the optimizer, and finish the trackers. What was measured stays."""
        self._passes.stop()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._restore is not None:
            self._restore()
            self._restore = None
        for tracker in self.trackers:
            tracker.close()
        self.trackers = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, key: str, text: str) -> None:
        if key not in self._said:
            self._said.add(key)
            self.messages.append(text)
            log.warning("critbatch monitor: %s", text)

    def _is_due(self) -> bool:
        return self.steps > 0 and (self.steps - 1) % self.every == 0

    def _prepare(self) -> None:
        """Decide what to listen to until the next optimizer step; before the first one, only how it accumulates."""
        self._measures = self._is_due()
        follows = self._follow is not None and self._follow.is_waiting
        is_adam = self._measures and running_squares(self.optimizer, next(iter(self._named.values()))) is not None
        weights = self._precision if is_adam else None
        self._step = Step(
            self._named, weights, group=self.group, is_sharded=self._is_sharded, is_tapped=self._restore is not None,
            outside=self._outside,
        )  # fmt: skip
        if self.steps and not (self._measures or follows):
            return
        each = self._measures and self._route == "example"
        self._passes.listen(
            norms=self._measures and not each and not self._is_sharded, each=each, weights=weights,
            check=each and not self._checked, most=self.most, shown=self._route == "example",
        )  # fmt: skip

    def _precision(self, name: str) -> Tensor | None:
        return precision(self.optimizer, self._named[name])

    @torch.no_grad()
    def _ended(self, heard: Heard) -> None:
        """Add a backward pass to the step."""
        if heard.is_fresh and len(self._step) and self._outside is None:
            self._step.restart()  # a step was skipped, as with infinite gradients in mixed precision
        if not len(self._step) and heard.left_over is not None and float(heard.left_over) > 0:
            self._measures = False
            self._say(
                "left over",
                "gradients of an earlier step were still there at the first backward: is `zero_grad()` missing?",
            )
        if heard.norms is not None:
            self._check_norms(heard)
        said, device = self._batch, next(iter(self._named.values())).device
        sizes = None
        if isinstance(said, Tensor) and said.ndim:
            sizes = said.detach().double().to(device)
            size = float(sizes.sum())
        else:
            size = float(heard.examples or 1) if said is None else float(said)
        self._batch = None
        if self._follow is not None:
            self._follow.meet(self._step.gradient_of)
        if self._measures:
            keep = self._follow is not None and self._follow.is_plain_sgd
            self._step.add(heard, sizes, size, keep=keep)
        else:
            self._step.count(size)

    def _check_norms(self, heard: Heard) -> None:
        """Refuse single examples' norms that are missing or do not add up to the gradient.

        Raises:
            UnmeasurableError: If a parameter has no norms, or wrong ones.
        """
        assert heard.norms is not None
        silent = [n for n, p in self._named.items() if p.grad is not None and n not in heard.norms.plain]
        if silent:
            why = heard.norms.unknown.get(
                silent[0], "it is used outside of the call of its layer, or the model is compiled"
            )
            raise UnmeasurableError(
                f"{len(silent)} of {len(self._named)} parameters have no norms of single examples, {silent[0]!r} first: {why}. "
                "Split the batch into micro-batches (two backwards before a step) and give unit='micro_batch'."
            )
        if not self._checked:
            self._checked = True
            apart = {name: float(one) for name, one in heard.unlike.items()}
            worst = max(apart, key=lambda name: apart[name], default=None)
            if worst is not None and math.isfinite(apart[worst]) and apart[worst] > UNLIKE:
                raise UnmeasurableError(
                    f"the examples' gradients of {worst!r} do not add up to its gradient, off by {apart[worst]:.1%}: it is "
                    "also used outside of the call of its layer. Split the batch into micro-batches."
                )

    @torch.no_grad()
    def _before_step(self, *_: Any) -> None:
        """Finish a measured step: the gradients are complete, the parameters not yet changed."""
        self._passes.stop()
        passes = len(self._step)
        if self._route is None and passes:
            self._route = "micro_batch" if passes > 1 else "example"
        if self._follow is not None:
            product = self._follow.finish(self._scale() * self._step.divisor(self.reduction))
            if product is not None:
                (self.history.products if self._follow.is_plain_sgd else self.history.cosines).append(product)
        listened = self._measures or not self.steps
        if listened and not passes and self._trouble is None:
            self._say("no backward", "there was no backward between two optimizer steps: nothing to measure.")
        if self._measures:
            self._finish()
        elif self._trouble is not None and world_size(self.group) == 1:
            self._off(self._trouble)
        if self._follow is not None and self._measures and self.why_off is None:
            scale = self._scale() * self._step.divisor(self.reduction)
            self._follow.begin(self._step.gradients, self.history, scale)

    def _scale(self) -> float:
        return float(self.scaler.get_scale()) if self.scaler is not None else 1.0

    def _finish(self) -> None:
        """Exchange rows with the other processes, so that all agree, and keep the moments."""
        device = next(iter(self._named.values())).device
        passes = len(self._step)
        blank = np.zeros(5 + 2 * len(self._names))
        plain, weighted = blank, None
        if passes and self._trouble is None:
            plain, weighted = self._step.rows(self._names, reduction=self.reduction, scale=self._scale())
        mark = [0.0 if self._trouble is None else 1.0, float(passes > 0), float(weighted is not None)]
        rows = gathered(np.concatenate([mark, plain, blank if weighted is None else weighted]), device, self.group)
        marks, rows = rows[:, :3], rows[:, 3:]
        if marks[:, 0].any():
            self._off(self._trouble or "another process cannot measure: see its log")
            return
        found = precise = None
        if marks[:, 1].all() and np.isfinite(rows).all():
            found = moments(rows[:, : len(blank)], reduction=self.reduction, population=self.population)
            if marks[:, 2].all():
                precise = moments(rows[:, len(blank) :], reduction=self.reduction, population=self.population)
        elif not np.isfinite(rows).all():
            self._say("not finite", f"gradients at step {self.steps} are not finite: such steps are left out.")
        if found is None:
            self._in_vain(passes)
            return
        self._fruitless = 0
        rate = float(self.optimizer.param_groups[0]["lr"])
        loss = None if self._loss is None else float(self._loss)
        self.history.measured.append(Measured(self.steps, found, precise, rate, loss))
        self._tell()

    def _in_vain(self, passes: int) -> None:
        self._fruitless += 1
        if self._fruitless == PATIENCE and passes:
            self._say(
                "one part",
                f"{PATIENCE} measured steps in a row had a single micro-batch, of which no variance can be taken. Give "
                "unit='example', or accumulate over 2 backwards or more.",
            )

    def _tell(self) -> None:
        if not self.trackers:
            return
        one = self.history.measured[-1]
        trace, norm = float(one.moments.traces.sum()), float(one.moments.squared_norms.sum())
        values = {
            "noise/trace": trace, "noise/squared_norm": norm, "noise/batch_size": one.moments.examples,
            "noise/gradient_norm": float(one.moments.gradients.sum()) ** 0.5, "noise/learning_rate": one.learning_rate,
        }  # fmt: skip
        some = [measured.moments for measured in self.history.measured[-LAST:]]
        scale = ratio(some, None, unit=self.counted_in, level=self.level)
        ends = {"": scale.value, "_low": scale.low, "_high": scale.high}
        values |= {f"noise/scale{end}": value for end, value in ends.items() if value is not None}
        for tracker in self.trackers:
            tracker.write(one.step, values)

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        self.steps += 1
        if self._follow is not None:
            self._follow.stepped()
        if self._is_due():
            now = held(self.optimizer)
            if now != self._held:
                raise UnmeasurableError(
                    f"the set of trained parameters changed by step {self.steps}, from {len(self._held)} to {len(now)}. "
                    "Close this monitor and make a new one: their noise scales are not of the same thing"
                )
        self._prepare()

    def _off(self, why: str) -> None:
        self._passes.stop()
        self._say("off", f"switched off at step {self.steps}: {why}")
        self.why_off = why
