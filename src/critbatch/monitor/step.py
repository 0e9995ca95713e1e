"""What is collected during one optimizer step, as tensors on their device until it ends."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor, nn

from ..ghost import Norms, Weights
from .passes import Heard, squared_norm, squared_norms
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
        self._plain: list[_Squares] = []
        self._weighted: list[_Squares] = []
        self._shards: dict[str, Tensor] = {}
        self._whole, self._whole_weighted = _NONE, _NONE
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

    def add(self, heard: Heard, sizes: Tensor | None, size: float, *, keep: bool) -> None:
        """Add a backward pass.

        Args:
            heard: What it gave.
            sizes: Examples or tokens of each of its examples, shape (example,); None where they are alike.
            size: Of all together.
            keep: Keep the accumulated gradient.

        Raises:
            UnmeasurableError: If examples declared and seen differ in number.
        """
        if heard.norms is not None:
            self._add_norms(heard.norms, heard.examples or 1, sizes, size)
        else:
            plain, weighted = (self._of_shards(), {}) if self._is_sharded else (heard.squares, heard.weighted)
            self._backwards.append(Backward(size, 1.0))
            self._plain.append(_Squares.of(plain, 1 / size))
            self._weighted.append(_Squares.of(weighted, 1 / size))
        self._take_whole(keep=keep)

    def _add_norms(self, norms: Norms, count: int, sizes: Tensor | None, size: float) -> None:
        """Add norms of single examples, each over the example's size; those chosen stand for all.

        Raises:
            UnmeasurableError: If examples declared and seen differ in number.
        """
        units, inverse = float(count), None
        if sizes is not None:
            if len(sizes) != count:
                raise UnmeasurableError(f"`batch` gave the sizes of {len(sizes)} examples, and the model saw {count}.")
            units = float((sizes > 0).sum())
            inverse = torch.where(sizes > 0, 1 / sizes, 0.0)  # an example without a token has no gradient either
        self._backwards.append(Backward(size, units))
        for kept, found in ((self._plain, norms.plain), (self._weighted, norms.weighted)):
            everyone = {name: one for name, one in found.items() if len(one) == count}
            some = {name: one for name, one in found.items() if len(one) != count}
            parts = [_Squares.of(everyone, count / size if inverse is None else 1.0, inverse)]
            if some and norms.chosen is not None:
                share, theirs = count / len(norms.chosen), None if inverse is None else inverse[norms.chosen]
                parts.append(_Squares.of(some, share * count / size if theirs is None else share, theirs))
            kept.append(_Squares.joined(parts))

    def _of_shards(self) -> dict[str, Tensor]:
        """Return the squares of this backward of a sharded model: tapped, or from what it added to the shards.

        An increment is the mean over all processes: a part `world_size` times as large.
        """
        if self._is_tapped:
            flat, self.flat = self.flat, 0.0
            return {ALL: torch.as_tensor(flat)}
        found = {}
        for name, parameter in self._named.items():
            if parameter.grad is not None:
                now = local(parameter.grad).detach().clone()
                before = self._shards.get(name)
                found[name] = squared_norm(now if before is None else now - before) * world_size(self._group)
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
        self._whole = _Squares.of(squared_norms(there), self._shares(there))
        if self._precision is not None:
            scales = {name: scale for name in there if (scale := self._precision(name)) is not None}
            found = {name: squared_norm(there[name], scale) for name, scale in scales.items()}
            self._whole_weighted = _Squares.of(found, self._shares(found))
        if keep:
            self.gradients = {name: local(one).detach().clone() for name, one in there.items()}

    def rows(self, names: Sequence[str], *, reduction: Reduction, scale: float) -> tuple[np.ndarray, np.ndarray | None]:
        """Return this process' rows for `window.moments`, plain and preconditioned: the one wait for the device.

        Args:
            names: Of the parameters, in order.
            reduction: What the loss of each backward was.
            scale: By which the loss was multiplied, as in mixed precision.
        """
        sets = [*self._plain, *self._weighted, self._whole, self._whole_weighted]
        flat = [one.values for one in sets if one.values is not None]
        numbers = iter((torch.cat(flat) / scale**2).tolist()) if flat else iter(())
        values = [{name: next(numbers) for name in one.names} for one in sets]
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

    def _shares(self, found: Mapping[str, Tensor]) -> float | Tensor:
        """Return which part of each parameter's squared norm this process adds, for all together to add it once."""
        if world_size(self._group) == 1 or not found:
            return 1.0
        shares = [1 / copies(self._named[name], self._group) for name in found]
        return torch.tensor(shares, dtype=torch.float64, device=next(iter(found.values())).device)


@final
@dataclass(frozen=True)
class _Squares:
    """Squared norms by parameter, shape (parameter,) in float64, on their device; None for none."""

    names: Sequence[str]
    values: Tensor | None

    @classmethod
    def of(cls, found: Mapping[str, Tensor], factor: float | Tensor = 1.0, weights: Tensor | None = None) -> "_Squares":
        """Return numbers times `factor`, one or one for each; of vectors their sums, each element times its weight."""
        if not found:
            return _NONE
        together = torch.stack(list(found.values())).double()
        if weights is not None:
            together = together @ weights
        elif together.ndim == 2:
            together = together.sum(1)
        return cls(tuple(found), together * factor)

    @classmethod
    def joined(cls, parts: Sequence["_Squares"]) -> "_Squares":
        """Return all numbers of several together."""
        there = [one for one in parts if one.values is not None]
        if len(there) < 2:
            return there[0] if there else _NONE
        names = tuple(name for one in there for name in one.names)
        return cls(names, torch.cat([one.values for one in there if one.values is not None]))


_NONE = _Squares((), None)
