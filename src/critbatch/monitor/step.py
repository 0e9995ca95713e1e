"""What is collected during one optimizer step, as tensors on their device until it ends."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from ..ghost import Weights
from .passes import Heard, squared_norm
from .ranks import copies, local, world_size
from .window import Backward, Reduction, row

ALL = "all parameters"


class UnmeasurableError(RuntimeError):
    """A step cannot be measured, nor any like it."""


@final
class Step:
    """Norms of the backward passes of a step, and of the gradient as it was accumulated and reduced.

    Args:
        named: Trained parameters.
        precision: P^-2 of an Adam-like optimizer by name, None without one.
        group: Process group.
        is_sharded: Parameters are split over processes.
        is_tapped: Local gradients of sharded parameters are read before they are reduced.
        outside: Returns what a parameter has accumulated elsewhere than in `.grad`, where a framework keeps it.
    """

    def __init__(
        self, named: Mapping[str, nn.Parameter], precision: Weights | None, *, group: Any, is_sharded: bool, is_tapped: bool,
        outside: Callable[[nn.Parameter], Tensor | None] | None = None,
    ) -> None:  # fmt: skip
        self._named, self._precision, self._group = named, precision, group
        self._is_sharded, self._is_tapped, self._outside = is_sharded, is_tapped, outside
        self.flat: Tensor | float = 0.0  # squared norm of the local gradient of a sharded model, as it is tapped
        self.restart()

    def restart(self) -> None:
        """Forget everything: the optimizer skipped a step."""
        self._backwards: list[Backward] = []
        self._plain: list[dict[str, Tensor]] = []
        self._weighted: list[dict[str, Tensor]] = []
        self._shards: dict[str, Tensor] = {}
        self.whole: dict[str, Tensor] = {}
        self._whole_weighted: dict[str, Tensor] = {}
        self.gradients: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._backwards)

    def divisor(self, reduction: Reduction) -> float:
        """Return how many times the mean over all examples the accumulated gradient is."""
        sizes = [one.size for one in self._backwards]
        return {"mean": float(len(sizes)), "sum": sum(sizes)}.get(reduction, 1.0) or 1.0

    def count(self, size: float) -> None:
        """Count a backward pass of a step that is not measured."""
        self._backwards.append(Backward(size, 1.0))

    def add(self, heard: Heard, sizes: Tensor, size: float, *, keep: bool) -> None:
        """Add a backward pass.

        Args:
            heard: What it gave.
            sizes: Examples or tokens of each of its examples, shape (example,).
            size: Of all together.
            keep: Keep the accumulated gradient.

        Raises:
            UnmeasurableError: If examples declared and seen differ in number.
        """
        units, plain, weighted = 1.0, heard.squares, heard.weighted
        if heard.norms is not None:
            units, plain, weighted = float((sizes > 0).sum()), heard.norms.plain, heard.norms.weighted
            first = next(iter(plain.values()), None)
            if first is not None and len(first) != len(sizes):
                raise UnmeasurableError(
                    f"`batch` gave the sizes of {len(sizes)} examples, and the model saw {len(first)}."
                )
            inverse = torch.where(sizes > 0, 1 / sizes, 0.0)  # an example without a token has no gradient either
            plain, weighted = ({n: (one * inverse).sum() for n, one in some.items()} for some in (plain, weighted))
        elif self._is_sharded:
            plain, weighted = self._of_shards(size), {}
        else:
            plain, weighted = ({n: one / size for n, one in some.items()} for some in (plain, weighted))
        self._backwards.append(Backward(size, units))
        self._plain.append(plain)
        self._weighted.append(weighted)
        self._take_whole(keep=keep)

    def _of_shards(self, size: float) -> dict[str, Tensor]:
        """Return the squares of this backward of a sharded model: tapped, or from what it added to the shards.

        An increment is the mean over all processes: a part `world_size` times as large.
        """
        if self._is_tapped:
            flat, self.flat = self.flat, 0.0
            return {ALL: torch.as_tensor(flat) / size}
        found = {}
        for name, parameter in self._named.items():
            if parameter.grad is not None:
                now = local(parameter.grad).detach().clone()
                before = self._shards.get(name)
                found[name] = squared_norm(now if before is None else now - before) * world_size(self._group) / size
                self._shards[name] = now
        return found

    def gradient_of(self, name: str) -> Tensor | None:
        """Return the gradient as it is accumulated so far."""
        parameter = self._named[name]
        gradient = parameter.grad
        more = None if self._outside is None or gradient is None else self._outside(parameter)
        return gradient if gradient is None or more is None else gradient + more

    def _take_whole(self, *, keep: bool) -> None:
        """Take the norms of the gradient as it is so far: before anyone clips it."""
        there = {name: one for name in self._named if (one := self.gradient_of(name)) is not None}
        shares = {name: copies(self._named[name], self._group) for name in there}
        self.whole = {name: squared_norm(one) / shares[name] for name, one in there.items()}
        if self._precision is not None:
            scales = {name: self._precision(name) for name in there}
            self._whole_weighted = {
                name: squared_norm(there[name], scale) / shares[name]
                for name, scale in scales.items()
                if scale is not None
            }
        if keep:
            self.gradients = {name: local(one).detach().clone() for name, one in there.items()}

    def rows(self, names: Sequence[str], *, reduction: Reduction, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Return this process' rows for `window.moments`, plain and preconditioned: the one wait for the device.

        Args:
            names: Of the parameters, in order.
            reduction: What the loss of each backward was.
            scale: By which the loss was multiplied, as in mixed precision.
        """
        sets = [*self._plain, *self._weighted, self.whole, self._whole_weighted]
        flat = [one.double().reshape(()) for some in sets for one in some.values()]
        numbers = iter((torch.stack(flat) / scale**2).tolist()) if flat else iter(())
        values = [{name: next(numbers) for name in some} for some in sets]
        count = len(self._backwards)
        for i, backward in enumerate(self._backwards):
            backward.squares, backward.weighted = values[i], values[count + i]
        whole, whole_weighted = values[-2], values[-1]
        if self._is_tapped:
            whole = {ALL: sum(whole.values())}
        parts = world_size(self._group) if self._is_sharded and not self._is_tapped and self._shards else 1
        plain = row(self._backwards, names, whole, reduction=reduction, whole=parts)
        known = all(set(one.squares) == set(one.weighted) for one in self._backwards) and bool(whole_weighted)
        if not known:
            return plain, None
        return plain, row(self._backwards, names, whole_weighted, reduction=reduction, weighted=True, whole=parts)
