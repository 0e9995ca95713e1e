"""Whether what a step did still helps at the next one."""

from collections.abc import Callable, Mapping
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from .history import History
from .ranks import copies, gathered, local


@final
class Follow:
    """Takes the product of a step's gradient, or of the update it made, with the gradient of the next batch.

    For plain SGD the gradient itself: with |G|^2 its mean tells the learning rate from the best one of a single step.
    With momentum or preconditioning the update that was applied: only the sign of the mean cosine can be read then.

    Source: derived; see `critbatch.noise.lag_one_alignment`.
    """

    def __init__(self, named: Mapping[str, nn.Parameter], optimizer: Any, group: Any) -> None:
        self._named, self._group = named, group
        inner = getattr(optimizer, "original", optimizer)  # a stand-in has it (`critbatch.integrations`)
        momentum = any(settings.get("momentum") for settings in inner.param_groups)
        self.is_plain_sgd = getattr(inner, "is_plain_sgd", isinstance(inner, torch.optim.SGD) and not momentum)
        self._kept: dict[str, Tensor] = {}  # gradient, or update, that the next gradient will meet
        self._start: dict[str, Tensor] = {}  # parameters before the step
        self._squared_norm = 0.0
        self._scale = 1.0  # of the gradient that is kept
        self._met: Tensor | None = None

    @property
    def is_waiting(self) -> bool:
        """Return whether the next backward is to be met."""
        return bool(self._kept)

    def begin(self, gradients: Mapping[str, Tensor], history: History, scale: float) -> None:
        """Keep what the next gradient will meet: of a step that was measured, and is about to be made; `scale` as in `finish`."""
        if self.is_plain_sgd:
            self._scale = scale
            self._kept = dict(gradients)
            self._squared_norm = float(history.measured[-1].moments.squared_norms.sum()) if history.measured else 0.0
        else:
            self._start = {name: local(one).detach().clone() for name, one in self._named.items()}

    def stepped(self) -> None:
        """Turn the parameters that were kept into the update that was applied."""
        if self._start:
            self._kept = {name: before.sub_(local(self._named[name]).detach()) for name, before in self._start.items()}
            self._start = {}

    def meet(self, gradient_of: Callable[[str], Tensor | None]) -> None:
        """Take products with the gradient as it is accumulated so far; the last backward of a step counts."""
        if not self._kept:
            return
        found = []
        for name, kept in self._kept.items():
            gradient = gradient_of(name)
            if gradient is not None:
                now = local(gradient.to_dense() if gradient.is_sparse else gradient).detach()
                kept, now = kept.reshape(-1), now.reshape(-1)
                numbers = [kept.dot(now)] if self.is_plain_sgd else [kept.dot(now), kept.dot(kept), now.dot(now)]
                found.append(torch.stack(numbers).double() / copies(self._named[name], self._group))
        self._met = torch.stack(found).sum(0) if found else None

    def finish(self, scale: float) -> Any:
        """Return the pair (product, |G|^2) or the cosine, None if there is none; then forget.

        Args:
            scale: By which the gradient is larger than the mean over examples: of mixed precision, of sums.
        """
        if not self._kept:
            return None
        met, self._met, self._kept = self._met, None, {}
        device = next(iter(self._named.values())).device
        mine = torch.zeros(1 if self.is_plain_sgd else 3) if met is None else met
        product, *squares = gathered(mine.cpu().double().numpy(), device, self._group).sum(0)
        if met is None or not np.isfinite(product) or not all(0 < one < np.inf for one in squares):
            return None
        if self.is_plain_sgd:
            return float(product / (scale * self._scale)), self._squared_norm
        return float(product / np.sqrt(squares[0] * squares[1]))
