"""Loop nests in C: element by element, and reductions."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

import torch

from .values import C_TYPES, Apply, Buffer, Constant, Iota, Leaf, Tree, Value, leaves

UNROLL = (4, 5, 6)  # independent sums at once, what divides first: one alone waits for its own additions
LIMITS = {
    torch.int64: ("INT64_MAX", "INT64_MIN"), torch.int32: ("INT32_MAX", "INT32_MIN"), torch.uint8: ("UINT8_MAX", "0"),
    torch.bool: ("1", "0"),
}  # fmt: skip
REDUCTIONS = {"sum": ("0", "{a} + {v}"), "any": ("0", "{a} | ({v} != 0)"), "all": ("1", "{a} & ({v} != 0)")}


@final
@dataclass(eq=False)
class Statement:
    """A piece of C and the buffers that it touches."""

    text: str
    reads: set[Buffer] = field(default_factory=set)
    writes: set[Buffer] = field(default_factory=set)
    copy: tuple[Buffer, Buffer] | None = None  # whole buffer to whole buffer: may be left out by writing there at once
    elementwise: bool = False  # each element depends on the same element of its full-size reads


Axes = list[tuple[int, dict[int, int]]]  # size, and stride by leaf


def nest(shape: Sequence[int], parts: Iterable[Leaf | Iota]) -> Axes:
    """Return the axes with those of size 1 left out and neighbours joined where every leaf allows it."""
    known = list(parts)
    axes: Axes = []
    for at, size in enumerate(shape):
        if size == 1:
            continue
        strides = {id(leaf): leaf.strides[at] for leaf in known}
        if axes and all(axes[-1][1][key] == stride * size for key, stride in strides.items()):
            axes[-1] = (axes[-1][0] * size, strides)
        else:
            axes.append((size, strides))
    return axes


def place(leaf: Leaf | Iota, names: Sequence[tuple[str, dict[int, int]]]) -> str:
    """Return the C text of a leaf's position: its offset, and each loop variable times its stride."""
    terms = [str(leaf.offset)] if leaf.offset else []
    for name, strides in names:
        by = strides[id(leaf)]
        if by:
            terms.append(name if by == 1 else f"{name} * {by}")
    return " + ".join(terms) or "0"


def text_of(tree: Tree, names: Sequence[tuple[str, dict[int, int]]]) -> str:
    """Return the C expression of a tree inside loops over `names`."""
    if isinstance(tree, Constant):
        return literal(tree.value, tree.dtype)
    if isinstance(tree, Iota):
        return f"((int64_t)({place(tree, names)}))"
    if isinstance(tree, Leaf):
        looked_up = "".join(
            f" + looked_up({text_of(one.index, names)}, {one.size}, {int(one.wraps)}, &bad) * {one.stride}"
            for one in tree.gathers
        )
        return f"{tree.buffer.name}[{place(tree, names)}{looked_up}]"
    return tree.template.format(*(f"({text_of(one, names)})" for one in tree.arguments))


def literal(value: float, dtype: torch.dtype) -> str:
    """Return a number as C."""
    kind = C_TYPES[dtype]
    if value != value:
        return f'(({kind})__builtin_nan(""))'
    if value in (float("inf"), float("-inf")):
        return f"(({kind}){'-' if value < 0 else ''}__builtin_inf())"
    return f"(({kind}){float(value)!r})" if dtype.is_floating_point else f"(({kind}){int(value)})"


def _open(axes: Sequence[tuple[str, int]]) -> str:
    return "".join(f"for (long {name} = 0; {name} < {size}; {name}++) " for name, size in axes)


def store(target: Leaf, value: Value) -> Statement:
    """Return the statement `target = value`, element by element."""
    axes = nest(value.shape, [target, *value.leaves])
    names = [(f"i{at}", strides) for at, (_, strides) in enumerate(axes)]
    sizes = [(name, size) for (name, _), (size, _) in zip(names, axes, strict=True)]
    body = f"{target.buffer.name}[{place(target, names)}] = {text_of(value.tree, names)};"
    can_be_vector = sizes and not _looks_up(value)
    pragma = "\n#pragma omp simd\n" if can_be_vector else ""
    text = _open(sizes[:-1]) + pragma + _open(sizes[-1:]) + body
    full = [leaf for leaf in value.leaves if isinstance(leaf, Leaf) and leaf.buffer.size > 1]
    same = all(leaf.strides == target.strides and leaf.offset == target.offset and not leaf.gathers for leaf in full)
    return Statement(text, reads_of(value.tree), {target.buffer}, elementwise=same)


def add_up(target: Leaf, value: Value) -> Statement:
    """Return the statement that adds a value to `target` (float64), and its squares to the variable `square`."""
    axes = nest(value.shape, [target, *value.leaves])
    names = [(f"i{at}", strides) for at, (_, strides) in enumerate(axes)]
    sizes = [(name, size) for (name, _), (size, _) in zip(names, axes, strict=True)]
    pragma = "\n#pragma omp simd reduction(+:square)\n" if sizes and not _looks_up(value) else ""
    body = (
        f"{{ const double one = {text_of(value.tree, names)}; {target.buffer.name}[{place(target, names)}] += one; "
        "square += one * one; }"
    )
    return Statement(_open(sizes[:-1]) + pragma + _open(sizes[-1:]) + body, reads_of(value.tree), {target.buffer})


def _looks_up(value: Value) -> bool:
    return any(isinstance(one, Leaf) and one.gathers for one in value.leaves)


def reads_of(tree: Tree) -> set[Buffer]:
    """Return the buffers that a tree reads."""
    return {leaf.buffer for leaf in leaves(tree) if isinstance(leaf, Leaf)}


def reduce(target: Leaf, value: Value, dims: Sequence[int], kind: str) -> Statement:
    """Return the statement that reduces axes `dims` of a value into `target`, whose strides there are 0.

    The innermost loop runs along memory: over the reduced axis with independent sums, or over the kept one.

    Args:
        target: With one stride for each axis of the value.
        value: What is reduced.
        dims: Axes that vanish.
        kind: "sum", "amax", "amin", "any" or "all".
    """
    parts = [target, *value.leaves]
    kept = [size if at not in dims else 1 for at, size in enumerate(value.shape)]
    gone = [size if at in dims else 1 for at, size in enumerate(value.shape)]
    outer, inner = nest(kept, parts), nest(gone, parts)
    if kind in REDUCTIONS:
        start, rule = REDUCTIONS[kind]
    else:
        sign = "-" if kind == "amax" else ""
        start = f"{sign}__builtin_inf()"
        suffix = {"float": "f", "double": "d"}.get(C_TYPES[value.dtype])
        rule = (
            f"{kind[1:]}_{suffix}({{a}}, {{v}})"
            if suffix
            else f"{{a}} {'>' if kind == 'amax' else '<'} {{v}} ? {{a}} : {{v}}"
        )
        if not suffix:
            start = LIMITS[value.dtype][kind == "amax"]
    along_gone = _runs(inner, value) >= _runs(outer, value) or not outer
    build = _dot if along_gone and kind == "sum" and inner else _sweep
    return Statement(build(target, value, outer, inner, start, rule), reads_of(value.tree), {target.buffer})


def _runs(axes: Axes, value: Value) -> int:
    # how many numbers lie side by side along the innermost of these axes
    if not axes:
        return -1
    return sum(_size(leaf) for leaf in value.leaves if axes[-1][1][id(leaf)] == 1)


def _size(leaf: Leaf | Iota) -> int:
    return leaf.buffer.size if isinstance(leaf, Leaf) else 0


def _named(prefix: str, axes: Axes) -> tuple[list[tuple[str, dict[int, int]]], list[tuple[str, int]]]:
    names = [(f"{prefix}{at}", strides) for at, (_, strides) in enumerate(axes)]
    return names, [(name, size) for (name, _), (size, _) in zip(names, axes, strict=True)]


def _dot(target: Leaf, value: Value, outer: Axes, inner: Axes, start: str, rule: str) -> str:
    # sums along memory: several targets at once, each with a sum of its own
    outer_names, outer_sizes = _named("i", outer)
    inner_names, inner_sizes = _named("r", inner)
    kind = C_TYPES[value.dtype]

    def block(width: int) -> str:
        shifted = [
            [*outer_names[:-1], (f"(i{len(outer) - 1} + {lane})", outer_names[-1][1])] if outer else []
            for lane in range(width)
        ]
        sums = [f"s{lane}" for lane in range(width)]
        adds = " ".join(
            f"{one} += {text_of(value.tree, names + inner_names)};" for one, names in zip(sums, shifted, strict=True)
        )
        puts = " ".join(
            f"{target.buffer.name}[{place(target, names)}] = {one};" for one, names in zip(sums, shifted, strict=True)
        )
        pragma = "" if _looks_up(value) else f"\n#pragma omp simd reduction(+:{','.join(sums)})\n"
        begin = f"{kind} {', '.join(f'{one} = {start}' for one in sums)};"
        return f"{{ {begin} {_open(inner_sizes[:-1])}{pragma}{_open(inner_sizes[-1:])}{{ {adds} }} {puts} }}"

    if not outer:
        return block(1)
    name, size = outer_sizes[-1]
    width = next((one for one in UNROLL if size % one == 0), UNROLL[0])
    full = size - size % width
    text = ""
    if full:
        text += f"{_open(outer_sizes[:-1])}for (long {name} = 0; {name} < {full}; {name} += {width}) {block(width)}\n"
    if size > full:
        text += f"{_open(outer_sizes[:-1])}for (long {name} = {full}; {name} < {size}; {name}++) {block(1)}"
    return text


def _sweep(target: Leaf, value: Value, outer: Axes, inner: Axes, start: str, rule: str) -> str:
    # for each reduced index one pass over the kept ones
    outer_names, outer_sizes = _named("i", outer)
    inner_names, inner_sizes = _named("r", inner)
    put = f"{target.buffer.name}[{place(target, outer_names)}]"
    step = rule.format(a=put, v=f"({text_of(value.tree, outer_names + inner_names)})")
    can_be_vector = outer and not _looks_up(value)
    pragma = "\n#pragma omp simd\n" if can_be_vector else ""
    last = pragma + _open(outer_sizes[-1:])
    return f"{_open(outer_sizes[:-1])}{{ {last}{put} = {start};\n{_open(inner_sizes)}{last}{put} = {step}; }}"


def apply(template: str, arguments: Sequence[Tree], dtype: torch.dtype) -> Apply:
    """Return an expression node."""
    return Apply(template, tuple(arguments), dtype)
