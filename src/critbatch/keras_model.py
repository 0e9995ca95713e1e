"""A Keras model as a PyTorch module: its variables are parameters and buffers, and `train` and `eval` mean what they say."""

from typing import Any, Self, final

import torch
from torch import Tensor, nn


def as_module(model: Any) -> Any:
    """Return a Keras model (on PyTorch) as a `KerasModel`, anything else as it is. Keras itself is not imported."""
    return KerasModel(model) if isinstance(model, nn.Module) and hasattr(model, "stateless_call") else model


@final
class KerasModel(nn.Module):
    """Calls a Keras model as a function of its variables, of which this module has copies of its own.

    A Keras model on PyTorch does not follow `train` and `eval`, and its variables are not those that
    `torch.func.functional_call` exchanges. Here trainable variables are parameters, by their paths; the others (running
    statistics, states of seeds) are buffers, and change in training mode alone.

    Args:
        model: Built: it knows the shape of its inputs.

    Raises:
        ValueError: If it is not built.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        if not model.built:
            raise ValueError(
                f"The Keras model {model.name!r} has no variables yet. Give it an `Input`, or call it once."
            )
        self._shared = _Shared(model)
        self._trained = [_name(one) for one in model.trainable_variables]
        self._kept = [_name(one) for one in model.non_trainable_variables]
        for name, one in zip(self._trained, model.trainable_variables, strict=True):
            self.register_parameter(name, nn.Parameter(one.value.detach().clone()))
        for name, one in zip(self._kept, model.non_trainable_variables, strict=True):
            self.register_buffer(name, one.value.detach().clone())

    @property
    def is_repeatable(self) -> bool:
        """Return whether another call in this mode gives the same: nothing is drawn, nor remembered of a batch."""
        return not (self.training and self._kept)

    def forward(self, *inputs: Tensor) -> Any:
        """Return the model's outputs."""
        trained = [getattr(self, name) for name in self._trained]
        kept = [getattr(self, name) for name in self._kept]
        outputs, now = self._shared.model.stateless_call(trained, kept, *inputs, training=self.training)
        if self.training:
            with torch.no_grad():
                for before, after in zip(kept, now, strict=True):
                    before.copy_(after)
        return outputs


@final
class _Shared:
    """Holds what copies of a module share: it is never changed."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __deepcopy__(self, memo: Any) -> Self:
        return self


def _name(variable: Any) -> str:
    return variable.path.replace("/", "__").replace(".", "_")
