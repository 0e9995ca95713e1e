"""What a traced number is before it is C: a strided view of memory, or an expression over such views."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, final

import torch

C_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int64: "int64_t",
    torch.int32: "int32_t",
    torch.bool: "uint8_t",
    torch.uint8: "uint8_t",
}
SUFFIXES = {torch.float32: "f", torch.float64: "d"}

Affine = tuple[int, tuple[int, ...]]  # offset and strides, in elements


class Unsupported(Exception):
    """The model uses something that cannot be written as C here; the message says what, in a plain sentence."""


class Passing(Unsupported):
    """It cannot be compiled now, which may be different another time: not to be remembered."""


@final
@dataclass(frozen=True, eq=False)
class Buffer:
    """A stretch of memory that the C code reads or writes, by the name of its pointer.

    Attributes:
        kind: "work" (the program's own), "state" (parameters, slots, buffers), "input" (batch, coefficients),
            "constant" or "noise" (drawn by torch before the call).
    """

    name: str
    dtype: torch.dtype
    size: int
    kind: str


class Lookup(NamedTuple):
    """An index into an axis of `size` entries `stride` apart; where it `wraps`, a negative one counts from the end."""

    index: "Tree"
    stride: int
    size: int
    wraps: bool


@final
@dataclass(frozen=True, eq=False)
class Leaf:
    """Elements `buffer[offset + sum(i * stride)]`, each gather adding a looked-up index times its stride."""

    buffer: Buffer
    offset: int
    strides: tuple[int, ...]
    gathers: tuple[Lookup, ...] = ()

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the elements."""
        return self.buffer.dtype


@final
@dataclass(frozen=True, eq=False)
class Iota:
    """The number `offset + sum(i * stride)` itself."""

    offset: int
    strides: tuple[int, ...]
    dtype: torch.dtype = torch.int64


@final
@dataclass(frozen=True, eq=False)
class Constant:
    """One number everywhere."""

    value: float | int | bool
    dtype: torch.dtype


@final
@dataclass(frozen=True, eq=False)
class Apply:
    """A C expression of other trees, element by element: `template` with {0}, {1}, ... for the arguments."""

    template: str
    arguments: tuple["Tree", ...]
    dtype: torch.dtype


Tree = Leaf | Iota | Constant | Apply


@final
@dataclass(frozen=True, eq=False)
class Value:
    """A tree with a shape. All strides inside have one entry for each axis."""

    shape: tuple[int, ...]
    tree: Tree
    leaves: tuple[Leaf | Iota, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "leaves", tuple(leaves(self.tree)))

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the elements."""
        return self.tree.dtype

    @property
    def is_plain(self) -> bool:
        """Return whether looking at an element costs no arithmetic."""
        return isinstance(self.tree, (Iota, Constant)) or (isinstance(self.tree, Leaf) and not self.tree.gathers)


def leaves(tree: Tree) -> Iterator[Leaf | Iota]:
    """Yield every leaf of a tree, those of its gathers included."""
    if isinstance(tree, Apply):
        for argument in tree.arguments:
            yield from leaves(argument)
    elif isinstance(tree, Leaf):
        yield tree
        for one in tree.gathers:
            yield from leaves(one.index)
    elif isinstance(tree, Iota):
        yield tree


def remap(tree: Tree, change: Callable[[Affine], Affine]) -> Tree:
    """Return the tree with `change` applied to the offset and strides of every leaf."""
    if isinstance(tree, Apply):
        return Apply(tree.template, tuple(remap(one, change) for one in tree.arguments), tree.dtype)
    if isinstance(tree, Iota):
        return Iota(*change((tree.offset, tree.strides)), tree.dtype)
    if isinstance(tree, Leaf):
        gathers = tuple(one._replace(index=remap(one.index, change)) for one in tree.gathers)
        return Leaf(tree.buffer, *change((tree.offset, tree.strides)), gathers)
    return tree


def contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a row-major array."""
    strides = [1] * len(shape)
    for axis in range(len(shape) - 2, -1, -1):
        strides[axis] = strides[axis + 1] * shape[axis + 1]
    return tuple(0 if size == 1 else stride for size, stride in zip(shape, strides, strict=True))


def whole(buffer: Buffer, shape: Sequence[int]) -> Value:
    """Return all of a buffer as a row-major array."""
    return Value(tuple(shape), Leaf(buffer, 0, contiguous(shape)))


def expand(value: Value, shape: Sequence[int]) -> Value:
    """Return the value broadcast to `shape`; axes are aligned at the end."""
    more = len(shape) - len(value.shape)
    kept = [size == 1 for size in value.shape]

    def change(affine: Affine) -> Affine:
        offset, strides = affine
        return offset, (0,) * more + tuple(0 if one else by for one, by in zip(kept, strides, strict=True))

    return Value(tuple(shape), remap(value.tree, change))


def permute(value: Value, axes: Sequence[int]) -> Value:
    """Return the value with its axes in another order."""
    order = [axis % len(value.shape) for axis in axes]
    return Value(
        tuple(value.shape[axis] for axis in order),
        remap(value.tree, lambda affine: (affine[0], tuple(affine[1][axis] for axis in order))),
    )


def cut(value: Value, axis: int, start: int, size: int, step: int = 1) -> Value:
    """Return `size` entries of one axis from `start`."""

    def change(affine: Affine) -> Affine:
        offset, strides = affine
        moved = tuple(by * step if at == axis else by for at, by in enumerate(strides))
        return offset + start * strides[axis], moved

    shape = tuple(size if at == axis else one for at, one in enumerate(value.shape))
    return Value(shape, remap(value.tree, change))


def drop(value: Value, axes: Sequence[int]) -> Value:
    """Return the value without axes of size 1."""
    gone = {axis % len(value.shape) for axis in axes}
    keep = [axis for axis in range(len(value.shape)) if axis not in gone]
    return Value(
        tuple(value.shape[axis] for axis in keep),
        remap(value.tree, lambda affine: (affine[0], tuple(affine[1][axis] for axis in keep))),
    )


def insert(value: Value, axis: int) -> Value:
    """Return the value with a new axis of size 1."""
    at = axis % (len(value.shape) + 1)
    return Value(
        (*value.shape[:at], 1, *value.shape[at:]),
        remap(value.tree, lambda affine: (affine[0], (*affine[1][:at], 0, *affine[1][at:]))),
    )


def view(value: Value, shape: Sequence[int]) -> Value | None:
    """Return the value in another shape if no leaf has to be copied for it, else None."""
    new = tuple(shape)
    found: dict[tuple[int, ...], tuple[int, ...]] = {}
    for leaf in value.leaves:
        strides = _viewed(value.shape, leaf.strides, new)
        if strides is None:
            return None
        found[leaf.strides] = strides
    return Value(new, remap(value.tree, lambda affine: (affine[0], found[affine[1]])))


def _viewed(old: tuple[int, ...], strides: tuple[int, ...], new: tuple[int, ...]) -> tuple[int, ...] | None:
    if math.prod(old) == 0:
        return None
    try:
        one = torch.empty_strided(old, strides, device="meta").view(new)
    except RuntimeError:
        return None
    return tuple(0 if size == 1 else by for size, by in zip(new, one.stride(), strict=True))
