"""Operations that read or write at looked-up places."""

from typing import Any

import torch

from . import loops, values
from .loops import Statement
from .lowering import Handler, Lowering, argument
from .values import Leaf, Lookup, Unsupported, Value


def _gather(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    source, axis, index = low.memory(given[0]), given[1] % max(len(given[0].shape), 1), low.memory(given[2])
    leaf = source.tree
    assert isinstance(leaf, Leaf)
    strides = tuple(0 if at == axis else by for at, by in enumerate(leaf.strides))
    looked_up = (Lookup(index.tree, leaf.strides[axis], source.shape[axis], wraps=False),)
    return Value(index.shape, Leaf(leaf.buffer, leaf.offset, strides, looked_up))


def _look_up(
    low: Lowering, source: Value, indices: list[Value | None], meta: torch.Tensor, *, wraps: bool
) -> Value:  # fmt: skip
    source = low.memory(source)
    leaf = source.tree
    assert isinstance(leaf, Leaf)
    used = [at for at, one in enumerate(indices) if one is not None]
    present = [low.memory(one) for one in indices if one is not None]
    if any(one.dtype == torch.bool for one in present):
        raise Unsupported("looking up by a mask has no C form")
    shape = torch.broadcast_shapes(*(one.shape for one in present))
    together = used == list(range(used[0], used[-1] + 1))
    first = used[0] if together else 0
    others = [at for at in range(len(source.shape)) if at not in used]
    before = [at for at in others if at < used[0]] if together else []
    after = [at for at in others if at not in before]
    strides = (*(leaf.strides[at] for at in before), *(0 for _ in shape), *(leaf.strides[at] for at in after))
    out = tuple(meta.shape)
    found = []
    for at, one in zip(used, present, strict=True):
        index = values.expand(one, shape)
        for _ in after:
            index = values.insert(index, len(index.shape))
        for _ in range(first):
            index = values.insert(index, 0)
        found.append(Lookup(values.expand(index, out).tree, leaf.strides[at], source.shape[at], wraps))
    return Value(out, Leaf(leaf.buffer, leaf.offset, strides, tuple(found)))


def _index(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return _look_up(low, given[0], list(given[1]), meta, wraps=True)


def _index_select(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = given[1] % len(given[0].shape)
    return _look_up(low, given[0], [None] * axis + [given[2]], meta, wraps=False)


def _embedding(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return _look_up(low, given[0], [given[1]], meta, wraps=False)


def _index_put(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    target = low.copy(given[0])
    adds = bool(argument(given, 3, False))
    probe = torch.empty(target.shape, device="meta")
    indices = list(given[1])
    picked = probe[tuple(slice(None) if one is None else torch.zeros(one.shape, dtype=torch.int64) for one in indices)]
    place = _look_up(low, target, indices, picked, wraps=True)
    return _write(low, target, place, low.expand(low.memory(given[2]), place.shape), adds=adds)


def _scatter(adds: bool) -> Handler:
    def handler(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
        target = low.copy(given[0])
        place = _gather(low, (target, given[1], given[2]), {}, meta)
        source = low.cast(low.number(given[3]), target.dtype)
        if source.shape:
            for at, size in enumerate(place.shape):
                source = values.cut(source, at, 0, size)
        return _write(low, target, place, low.expand(source, place.shape), adds=adds)

    return handler


def _write(low: Lowering, target: Value, place: Value, source: Value, *, adds: bool) -> Value:
    # stores element by element at looked-up places; the leaf of `place` is what is written
    leaf = place.tree
    assert isinstance(leaf, Leaf)
    axes = loops.nest(place.shape, [*place.leaves, *source.leaves])
    names = [(f"i{at}", strides) for at, (_, strides) in enumerate(axes)]
    head = "".join(
        f"for (long {name} = 0; {name} < {size}; {name}++) " for (name, _), (size, _) in zip(names, axes, strict=True)
    )
    text = f"{head}{loops.text_of(leaf, names)} {'+=' if adds else '='} {loops.text_of(source.tree, names)};"
    reads = loops.reads_of(leaf) | loops.reads_of(source.tree)
    low.statements.append(Statement(text, reads, {leaf.buffer}))
    return target


HANDLERS: dict[str, Handler] = {
    "gather": _gather, "index": _index, "index_select": _index_select, "embedding": _embedding,
    "index_put": _index_put, "_unsafe_index_put": _index_put, "scatter": _scatter(False),
    "scatter_add": _scatter(True),
}  # fmt: skip
