"""Lightning 2: the monitor as a callback of its Trainer."""

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, final

from torch import Tensor, nn

from ..monitor import GradientNoiseMonitor, Reading
from ..tracker import Tracker
from .stand_in import LossScale, StandIn

try:
    if "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules:
        from pytorch_lightning import Callback
    else:
        from lightning.pytorch import Callback
except ImportError as error:
    raise ImportError("Lightning is not installed. Run: pip install 'critbatch[lightning]'") from error


@final
class NoiseScaleCallback(Callback):
    """Measures the gradient noise of `Trainer.fit`, before clipping, and sends it to the Trainer's loggers.

        noise = NoiseScaleCallback(every=10)
        Trainer(callbacks=[noise], accumulate_grad_batches=4, gradient_clip_val=1.0).fit(module, loader)
        print(noise.reading().sentence)

    The loss that `training_step` returns is a mean over its batch unless `reduction` says otherwise; that Lightning
    divides it by `accumulate_grad_batches` is taken back.

    Args:
        optimizer: Which of the module's optimizers to watch.
        is_logged: Whether numbers go to the Trainer's loggers too.
        **options: Of `GradientNoiseMonitor`.
    """

    def __init__(self, *, optimizer: int = 0, is_logged: bool = True, **options: Any) -> None:
        self._place, self._is_logged, self._options = optimizer, is_logged, options
        self.monitor: GradientNoiseMonitor | None = None
        self._stand_in: StandIn | None = None
        self._undo: list[Any] = []

    def reading(self, *, last: int = 200) -> Reading:
        """Return what the `last` measured steps say; also after the training.

        Raises:
            RuntimeError: If no training has begun.
        """
        if self.monitor is None:
            raise RuntimeError(
                "`NoiseScaleCallback.reading()`: nothing has been trained yet. Call `Trainer.fit` first."
            )
        return self.monitor.reading(last=last)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Put the monitor into the model that trains."""
        optimizer = trainer.optimizers[self._place]
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        watched: Any = optimizer
        if scaler is None:  # the step's closure holds forward and backward: its own hooks come too early
            watched = self._stand_in = StandIn(optimizer)
            self._undo.append(optimizer.register_step_post_hook(lambda *_: watched.after()).remove)
        model = trainer.model if trainer.model is not pl_module else self._enter(pl_module)
        options = dict(self._options)
        if self._is_logged and trainer.loggers:
            options["trackers"] = (*options.get("trackers", ()), _Loggers(trainer.loggers))
        is_divided = pl_module.automatic_optimization
        scale = LossScale(lambda: 1 / trainer.accumulate_grad_batches if is_divided else 1.0, scaler)
        self.monitor = GradientNoiseMonitor(model, watched, scaler=scale, **options)

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Finish a measured step: its gradients are complete and not yet clipped."""
        if self._stand_in is not None and optimizer is self._stand_in.original:
            self._stand_in.before()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Take everything out again."""
        self._leave()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Take everything out again."""
        self._leave()

    def _enter(self, module: Any) -> nn.Module:
        """Return a module whose forward is the `training_step` of another: what Lightning calls is no forward."""
        entry, step = _Entry(module), module.training_step

        @functools.wraps(step)
        def training_step(*positional: Any, **keywords: Any) -> Any:
            return entry(_first(positional), step, positional, keywords)

        before = module.__dict__.get("training_step")
        module.__dict__["training_step"] = training_step

        def leave() -> None:
            del module.__dict__["training_step"]
            if before is not None:
                module.__dict__["training_step"] = before

        self._undo.append(leave)
        return entry

    def _leave(self) -> None:
        while self._undo:
            self._undo.pop()()
        self._stand_in = None
        if self.monitor is not None:
            self.monitor.close()


@final
class _Entry(nn.Module):
    """Has the layers and parameters of a module, and its training step as forward."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._modules, self._parameters, self._buffers = module._modules, module._parameters, module._buffers

    def forward(self, first: Tensor | None, step: Any, positional: Any, keywords: Any) -> Any:
        return step(*positional, **keywords)


@final
class _Loggers(Tracker):
    """Writes to the loggers of a Trainer, which closes them itself."""

    def __init__(self, loggers: Sequence[Any]) -> None:
        self._loggers = loggers

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for logger in self._loggers:
            logger.log_metrics(dict(values), step=step)

    def close(self) -> None:
        pass


def _first(value: Any) -> Tensor | None:
    """Return the first tensor of a batch, whatever it is packed in, so that its rows can be counted."""
    if isinstance(value, Tensor):
        return value if value.ndim else None
    if isinstance(value, Mapping):
        value = list(value.values())
    parts = value if isinstance(value, list | tuple) else []
    return next((found for one in parts if (found := _first(one)) is not None), None)
