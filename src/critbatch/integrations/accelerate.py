"""Hugging Face Accelerate: the monitor in a loop that an `Accelerator` has prepared."""

from typing import Any

from torch import nn

from ..monitor import GradientNoiseMonitor
from .stand_in import LossScale

try:
    from accelerate import Accelerator
    from accelerate.utils import DistributedType
except ImportError as error:
    raise ImportError("Accelerate is not installed. Run: pip install 'critbatch[accelerate]'") from error


def attach(accelerator: Accelerator, model: nn.Module, optimizer: Any, **options: Any) -> GradientNoiseMonitor:
    """Return a monitor of the training that `accelerator` runs.

        model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
        monitor = attach(accelerator, model, optimizer)

    `Accelerator.backward` divides each loss by the number of accumulation steps: that is taken back, also for the short
    last window of an epoch. `reduction` says what the loss is before it, as for `GradientNoiseMonitor`.

    Args:
        accelerator: Whose `backward` is called.
        model: As `prepare` returned it.
        optimizer: As `prepare` returned it.
        **options: Of `GradientNoiseMonitor`.

    Raises:
        ValueError: If DeepSpeed or Megatron-LM trains, which keep the gradients to themselves.
    """
    kind = accelerator.distributed_type
    if kind in (DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ValueError(f"`attach(accelerator, ...)`: {kind.value} keeps its gradients to itself. Use DDP or FSDP2.")
    scale = LossScale(lambda: 1 / accelerator.gradient_accumulation_steps, accelerator.scaler)
    return GradientNoiseMonitor(model, optimizer, scaler=scale, **options)
