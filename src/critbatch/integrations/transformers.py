"""transformers: the monitor as a callback of its Trainer."""

from collections.abc import Mapping
from typing import Any, final

import torch
from torch import Tensor, nn

from ..monitor import GradientNoiseMonitor, Reading
from ..monitor.losses import counted, summed
from ..monitor.ranks import world_size
from ..monitor.step import UnmeasurableError
from .stand_in import LossScale

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError("transformers is not installed. Run: pip install 'critbatch[transformers]'") from error

IGNORED = -100  # label of a token that is not counted


@final
class NoiseScaleCallback(TrainerCallback):
    """Measures the gradient noise of `Trainer.train`, before clipping.

        noise = NoiseScaleCallback(every=10)
        Trainer(model, arguments, train_dataset=data, callbacks=[noise]).train()
        print(noise.reading().sentence)

    Most models divide the loss by the number of labels in all micro-batches of a step. Each micro-batch is then a share
    of the step, as large as its number of labels: what is counted are tokens. Others take the mean over a micro-batch,
    and the Trainer divides it by the number of micro-batches, or forgets to. Which of them it is, is read from the loss.

    Args:
        reduction: "auto", or what the loss of each backward is, see `critbatch.monitor.REDUCTIONS`: with a loss of your
            own (`compute_loss`), whose labels the model does not see.
        **options: Of `GradientNoiseMonitor`.
    """

    def __init__(self, *, reduction: str = "auto", **options: Any) -> None:
        self._reduction, self._options = reduction, options
        self.monitor: GradientNoiseMonitor | None = None
        self._handles: list[Any] = []

    def reading(self, *, last: int = 200) -> Reading:
        """Return what the `last` measured steps say; also after the training.

        Raises:
            RuntimeError: If no training has begun.
        """
        if self.monitor is None:
            raise RuntimeError(
                "`NoiseScaleCallback.reading()`: nothing has been trained yet. Call `Trainer.train` first."
            )
        return self.monitor.reading(last=last)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Put the monitor into the model that trains."""
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        self._begin()
        scale = LossScale(self._scale, getattr(optimizer, "scaler", None))
        reduction: Any = "mean" if self._reduction == "auto" else self._reduction
        self.monitor = GradientNoiseMonitor(model, optimizer, scaler=scale, reduction=reduction, **self._options)
        if self._reduction == "auto":
            hook = self.monitor._guard(self._forward)
            self._handles = [model.register_forward_hook(hook, with_kwargs=True)]

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to count."""
        self._begin()

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take everything out again."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self.monitor is not None:
            self.monitor.close()

    def _begin(self) -> None:
        self._counted: Tensor | float = 0.0
        self._divisor: Any = None

    def _scale(self) -> float:
        """Return by how much too large shares are: the Trainer may count labels that the loss does not see."""
        if self._divisor is None or self.monitor is None or not self.monitor._measures or world_size() > 1:
            return 1.0
        return float(self._counted) / float(self._divisor)

    def _forward(self, model: nn.Module, positional: Any, keywords: Mapping[str, Any], outputs: Any) -> None:
        """Read from a forward pass how large the micro-batch is, and what its loss is.

        Raises:
            UnmeasurableError: If the loss does not show it.
        """
        monitor = self.monitor
        if monitor is None or not (model.training and torch.is_grad_enabled()):
            return
        labels, divisor = keywords.get("labels"), keywords.get("num_items_in_batch")
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs[0]
        is_sum = summed(loss) if isinstance(loss, Tensor) else None
        if (
            is_sum is None
            or not isinstance(loss, Tensor)
            or not isinstance(labels, Tensor)
            or (is_sum and divisor is None)
        ):
            raise UnmeasurableError(
                "whether the loss is a sum or a mean over the batch is not to be seen in the model's outputs, as with a loss "
                "of your own or label smoothing. Say it: NoiseScaleCallback(reduction=...)"
            )
        sizes = _sizes(loss, labels)
        monitor.batch(sizes)
        monitor.counted_in = "tokens" if labels.ndim > 1 else "examples"
        if is_sum:
            monitor.reduction = "share"
            self._counted, self._divisor = self._counted + sizes.sum(), divisor
        else:  # a model that is given the divisor and does not use it: the Trainer then divides by nothing
            monitor.reduction = "mean_over_steps" if divisor is None else "mean"


def _sizes(loss: Tensor, labels: Tensor) -> Tensor:
    """Return how many labels of each example count: as the loss saw them, which may be fewer than it was given."""
    seen = counted(loss)
    if seen is None or seen.numel() % len(labels):
        seen = labels.ne(IGNORED)
    return seen.reshape(len(labels), -1).sum(1)
