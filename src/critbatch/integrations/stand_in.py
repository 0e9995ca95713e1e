"""What stands between the monitor and a framework that steps, and divides losses, in its own way."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, final

from torch.utils.hooks import RemovableHandle

Hook = Callable[..., None]


@final
class StandIn:
    """Stands for an optimizer whose own step hooks come too early, or do not exist: somebody else says when.

    Args:
        optimizer: Has `param_groups` and `state` as torch's have them.
    """

    def __init__(self, optimizer: Any) -> None:
        self.original = optimizer
        self._before: OrderedDict[int, Hook] = OrderedDict()
        self._after: OrderedDict[int, Hook] = OrderedDict()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer."""
        return self.original.param_groups

    @property
    def state(self) -> Any:
        """Return the state of the optimizer."""
        return self.original.state

    def register_step_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook` when gradients are complete, and neither they nor the parameters have changed."""
        return _register(self._before, hook)

    def register_step_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook` when the parameters have changed."""
        return _register(self._after, hook)

    def before(self) -> None:
        """Say that gradients are complete."""
        for hook in tuple(self._before.values()):
            hook(self, (), {})

    def after(self) -> None:
        """Say that the parameters have changed."""
        for hook in tuple(self._after.values()):
            hook(self, (), {})


@final
class LossScale:
    """By how much a framework multiplies the loss before backward, in place of a `GradScaler`.

    Args:
        factor: Returns what the framework multiplies the loss with.
        scaler: The scaler of mixed precision on top of that, if there is one.
    """

    def __init__(self, factor: Callable[[], float], scaler: Any = None) -> None:
        self._factor, self._scaler = factor, scaler

    def get_scale(self) -> float:
        """Return the product of both."""
        return self._factor() * (1.0 if self._scaler is None else float(self._scaler.get_scale()))


def _register(hooks: OrderedDict[int, Hook], hook: Hook) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle
