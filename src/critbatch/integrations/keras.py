"""Keras 3 on PyTorch: the monitor as a callback of `fit`."""

from collections.abc import Mapping
from typing import Any, final

import numpy as np
from torch import Tensor, nn

from ..monitor import GradientNoiseMonitor, Reading
from .stand_in import LossScale, StandIn

try:
    import keras
except ImportError as error:
    if error.name in ("tensorflow", "jax"):
        raise ImportError(
            "Keras runs on PyTorch only where KERAS_BACKEND=torch is set before it is imported."
        ) from error
    raise ImportError("Keras is not installed. Run: pip install 'critbatch[keras]'") from error


@final
class NoiseScaleCallback(keras.callbacks.Callback):
    """Measures the gradient noise of `keras.Model.fit`, before clipping.

        noise = NoiseScaleCallback(every=10)
        model.fit(inputs, targets, batch_size=64, callbacks=[noise])
        print(noise.reading().sentence)

    With `gradient_accumulation_steps` of the optimizer, parts are the micro-batches. Penalties (`kernel_regularizer`)
    belong to no example: with one that is not small, single examples' gradients do not add up, and the monitor says so.

    Args:
        **options: Of `GradientNoiseMonitor`.

    Raises:
        RuntimeError: If Keras runs on another backend.
    """

    def __init__(self, **options: Any) -> None:
        if keras.backend.backend() != "torch":
            raise RuntimeError(
                f"`NoiseScaleCallback()`: Keras runs on {keras.backend.backend()}. Set KERAS_BACKEND=torch before it is "
                "imported."
            )
        super().__init__()
        self._options = options
        self.monitor: GradientNoiseMonitor | None = None
        self._driven: Any = None

    def reading(self, *, last: int = 200) -> Reading:
        """Return what the `last` measured steps say; also after the training.

        Raises:
            RuntimeError: If no training has begun.
        """
        if self.monitor is None:
            raise RuntimeError("`NoiseScaleCallback.reading()`: nothing has been trained yet. Call `Model.fit` first.")
        return self.monitor.reading(last=last)

    def on_train_begin(self, logs: Any = None) -> None:
        """Put the monitor into the model that trains.

        Raises:
            ValueError: If the step is compiled, so that nothing of it can be heard.
        """
        if self.model.jit_compile:
            raise ValueError(
                "`NoiseScaleCallback` hears nothing of a compiled step. Use `compile(..., jit_compile=False)`."
            )
        given = self.model.optimizer
        original = _Original(self.model, given)
        stand_in = StandIn(original)
        self.monitor = GradientNoiseMonitor(self.model, stand_in, scaler=LossScale(original.scale), **self._options)
        self._driven, apply = original.optimizer, original.optimizer.apply

        def applied(*positional: Any, **keywords: Any) -> None:
            if is_last := original.is_last:
                stand_in.before()
            apply(*positional, **keywords)
            if is_last:
                stand_in.after()

        self._driven.__dict__["apply"] = applied

    def on_train_end(self, logs: Any = None) -> None:
        """Take everything out again."""
        if self._driven is not None:
            del self._driven.__dict__["apply"]
            self._driven = None
        if self.monitor is not None:
            self.monitor.close()


@final
class _Original:
    """A Keras optimizer as the monitor knows optimizers."""

    def __init__(self, model: Any, given: Any) -> None:
        optimizer = getattr(given, "inner_optimizer", given)
        self._model, self._given, self.optimizer = model, given, optimizer
        self._steps = optimizer.gradient_accumulation_steps or 1
        self._by_parameter = {id(one.value): one for one in model.trainable_variables}
        self.is_plain_sgd = isinstance(optimizer, keras.optimizers.SGD) and not optimizer.momentum

    @property
    def is_last(self) -> bool:
        """Return whether the micro-batch that comes now completes a step."""
        return (int(self.optimizer._iterations.value) + 1) % self._steps == 0

    @property
    def _updates(self) -> int:
        return int(self.optimizer._iterations.value) // self._steps

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Return one group, with the settings that the preconditioner is made of."""
        optimizer = self.optimizer
        group = {"params": [one.value for one in self._model.trainable_variables], "lr": float(optimizer.learning_rate)}
        if _has_squares(optimizer):
            count = max(self._updates, 1)
            corrected = optimizer.epsilon / np.sqrt(
                1 - optimizer.beta_2**count
            )  # Keras adds it to the uncorrected root
            group |= {"betas": (optimizer.beta_1, optimizer.beta_2), "eps": float(corrected)}
        return [group]

    @property
    def state(self) -> Mapping[nn.Parameter, Mapping[str, Any]]:
        """Return the running squares of each parameter, empty before the first step."""
        optimizer = self.optimizer
        if not (_has_squares(optimizer) and self._updates):
            return {}
        kept = optimizer._velocity_hats if optimizer.amsgrad else optimizer._velocities
        return {
            one.value: {"exp_avg_sq": kept[optimizer._get_variable_index(one)].value, "step": self._updates}
            for one in self._model.trainable_variables
        }

    def scale(self) -> float:
        """Return by how much the loss is multiplied."""
        dynamic = getattr(self._given, "dynamic_scale", None)
        return float(self._given.loss_scale_factor or 1.0) if dynamic is None else float(dynamic.value)

    def accumulated(self, parameter: nn.Parameter) -> Tensor | None:
        """Return what the optimizer has accumulated: Keras clears `.grad` before each backward."""
        if self._steps == 1:
            return None
        place = self.optimizer._get_variable_index(self._by_parameter[id(parameter)])
        return self.optimizer._accumulated_gradients[place].value * self.scale()


def _has_squares(optimizer: Any) -> bool:
    return isinstance(optimizer, keras.optimizers.Adam)
