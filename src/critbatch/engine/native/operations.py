"""Operations that are more than element by element: views, reductions, products, joins."""

import math
from typing import Any

import torch

from . import loops, values
from .loops import Statement
from .lowering import Handler, Lowering, argument, counting, product
from .values import Constant, Leaf, Unsupported, Value


def _view(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    found = values.view(given[0], tuple(meta.shape))
    if found is not None:
        return found
    copied = values.view(low.copy(given[0]), tuple(meta.shape))
    assert copied is not None
    return copied


def _same(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return low.cast(given[0], meta.dtype)


def _permute(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return values.permute(given[0], given[1])


def _transpose(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axes = list(range(len(given[0].shape)))
    first, second = (given[1], given[2]) if len(given) > 1 else (0, len(axes) - 1)
    axes[first], axes[second] = axes[second], axes[first]
    return values.permute(given[0], axes)


def _expand(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return low.expand(given[0], tuple(meta.shape))


def _unsqueeze(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return values.insert(given[0], given[1])


def _squeeze(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    shape = given[0].shape
    named = argument(given, 1, range(len(shape)))
    named = [named] if isinstance(named, int) else named
    return values.drop(given[0], [axis for axis in named if shape[axis] == 1])


def _slice(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = argument(given, 1, 0) % len(given[0].shape)
    size = given[0].shape[axis]
    start = argument(given, 2, 0)
    start = max(0, min(size, start + size if start < 0 else start))
    return values.cut(given[0], axis, start, meta.shape[axis], argument(given, 4, 1))


def _select(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = given[1] % len(given[0].shape)
    return values.drop(values.cut(given[0], axis, given[2] % given[0].shape[axis], 1), [axis])


def _split(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: list[torch.Tensor]) -> list[Value]:
    axis = argument(given, 2, 0) % len(given[0].shape)
    found, start = [], 0
    for one in meta:
        found.append(values.cut(given[0], axis, start, one.shape[axis]))
        start += one.shape[axis]
    return found


def _unbind(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: list[torch.Tensor]) -> list[Value]:
    axis = argument(given, 1, 0) % len(given[0].shape)
    return [values.drop(values.cut(given[0], axis, at, 1), [axis]) for at in range(len(meta))]


def _full(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    number = next((one for one in given[1:] if isinstance(one, (bool, int, float))), 0)
    return _constant(number, meta)


def _zeros(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return _constant(0, meta)


def _ones(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return _constant(1, meta)


def _scalar(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return _constant(given[0], meta)


def _constant(number: float, meta: torch.Tensor) -> Value:
    if meta.dtype not in values.C_TYPES:
        raise Unsupported(f"numbers of type {meta.dtype} have no C form")
    return Value(tuple(meta.shape), Constant(torch.tensor(number).to(meta.dtype).item(), meta.dtype))


def _arange(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    start = given[0] if len(given) > 1 else 0
    step = argument(given, 2, 1)
    if not all(isinstance(one, int) for one in given):
        raise Unsupported("a range of fractions has no C form")
    return low.cast(counting(meta.shape[0], start, step), meta.dtype)


def _where(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    one, other = (low.cast(low.number(side), meta.dtype) for side in given[1:3])
    shape = tuple(meta.shape)
    sides = [low.expand(side, shape) for side in (low.cast(given[0], torch.bool), one, other)]
    tree = loops.apply("{0} ? {1} : {2}", [side.tree for side in sides], meta.dtype)
    return Value(shape, tree)


def _clamp(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    found = low.cast(given[0], meta.dtype)
    bounds = (argument(given, 1, options.get("min")), "max"), (argument(given, 2, options.get("max")), "min")
    for bound, name in bounds:
        if bound is None:
            continue
        template = f"{name}_{{s}}({{0}}, {{1}})"
        if not meta.dtype.is_floating_point:
            template = f"{{0}} {'<' if name == 'max' else '>'} {{1}} ? {{1}} : {{0}}"
        found = low.apply(template, [found, low.number(bound)], meta.dtype)
    return found


def _sum(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    dims = argument(given, 1, [])
    return low.reduce(given[0], dims, "sum", keep=bool(argument(given, 2, False)), dtype=meta.dtype)


def _mean(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    total = _sum(low, given, options, meta)
    count = math.prod(given[0].shape) / max(math.prod(total.shape), 1)
    return low.apply("{0} / {1}", [total, low.number(float(count))], meta.dtype)


def _extreme(kind: str) -> Handler:
    def handler(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
        dims = argument(given, 1, [])
        dims = [dims] if isinstance(dims, int) else dims
        value = low.cast(given[0], torch.bool) if kind in ("any", "all") else given[0]
        return low.reduce(value, dims, kind, keep=bool(argument(given, 2, False)))

    return handler


def _variance(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: Any) -> Any:
    value = low.memory(given[0])
    rank = len(value.shape)
    dims = [dim % rank for dim in (argument(given, 1) or range(rank))]
    count = math.prod(value.shape[dim] for dim in dims)
    correction = options.get("correction", 1)
    total = low.reduce(value, dims, "sum", keep=True)
    mean = low.memory(low.apply("{0} / {1}", [total, low.number(float(count))], value.dtype))
    squares = low.apply("square_{s}({0} - {1})", [value, mean], value.dtype)
    spread = low.reduce(squares, dims, "sum", keep=True)
    left = max(float(count) - float(1 if correction is None else correction), 0.0)
    variance = low.memory(low.apply("{0} / {1}", [spread, low.number(left)], value.dtype))
    is_pair = isinstance(meta, (tuple, list))
    found = [variance, mean] if options.get("keepdim") else [values.drop(one, dims) for one in (variance, mean)]
    return found if is_pair else found[0]


def _position(kind: str) -> Handler:
    def handler(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
        value = low.memory(given[0])
        rank = len(value.shape)
        if len(given) < 2 or given[1] is None:
            raise Unsupported(f"arg{kind} over all axes has no C form")
        axis = given[1] % rank
        target = low.new(tuple(1 if at == axis else size for at, size in enumerate(value.shape)), torch.int64)
        source, out = value.tree, target.tree
        assert isinstance(source, Leaf)
        assert isinstance(out, Leaf)
        outer = [(f"i{at}", size) for at, size in enumerate(value.shape) if at != axis]
        at_source = " + ".join(
            [str(source.offset)] + [f"i{at} * {by}" for at, by in enumerate(source.strides) if at != axis]
        )
        at_out = " + ".join([str(out.offset)] + [f"i{at} * {by}" for at, by in enumerate(out.strides) if at != axis])
        sign = ">" if kind == "max" else "<"
        read = f"{source.buffer.name}[{at_source} + r * {source.strides[axis]}]"
        body = (
            f"{{ long best = 0; {values.C_TYPES[value.dtype]} top = {read.replace(' + r *', ' + 0L *')}; "
            f"for (long r = 1; r < {value.shape[axis]}; r++) if ({read} {sign} top || ({read} != {read} && top == top)) "
            f"{{ top = {read}; best = r; }} {out.buffer.name}[{at_out}] = best; }}"
        )
        text = "".join(f"for (long {name} = 0; {name} < {size}; {name}++) " for name, size in outer) + body
        low.statements.append(Statement(text, {source.buffer}, {out.buffer}))
        return target if bool(argument(given, 2, False)) else values.drop(target, [axis])

    return handler


def _mm(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return product(low, given[0], given[1])


def _addmm(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    if options.get("beta", 1) != 1 or options.get("alpha", 1) != 1:
        raise Unsupported("a scaled addmm has no C form")
    return low.apply("{0} + {1}", [product(low, given[1], given[2]), given[0]], meta.dtype)


def _mv(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return values.drop(product(low, given[0], values.insert(given[1], 1)), [1])


def _dot(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return low.reduce(low.apply("{0} * {1}", list(given[:2]), meta.dtype), [], "sum", keep=False)


def _cat(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = argument(given, 1, 0) % len(meta.shape)
    target, start = low.new(tuple(meta.shape), meta.dtype), 0
    for one in given[0]:
        if len(one.shape) != len(meta.shape) or math.prod(one.shape) == 0:
            continue
        low.put(values.cut(target, axis, start, one.shape[axis]), low.cast(one, meta.dtype))
        start += one.shape[axis]
    return target


def _stack(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = argument(given, 1, 0) % len(meta.shape)
    return _cat(low, ([values.insert(one, axis) for one in given[0]], axis), {}, meta)


def _slice_scatter(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    target, source = low.copy(given[0]), given[1]
    axis = argument(given, 2, 0) % len(target.shape)
    start = argument(given, 3, 0)
    start = max(0, start + target.shape[axis] if start < 0 else start)
    low.put(values.cut(target, axis, start, source.shape[axis], argument(given, 5, 1)), source)
    return target


def _select_scatter(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    target, axis = low.copy(given[0]), given[2] % len(given[0].shape)
    low.put(values.cut(target, axis, given[3] % target.shape[axis], 1), values.insert(given[1], axis))
    return target


def _pad(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    pads = list(given[1])
    if min(pads) < 0:
        raise Unsupported("negative padding has no C form")
    target = low.new(tuple(meta.shape), meta.dtype)
    low.put(target, _constant(argument(given, 2, 0), meta))
    region = target
    for pair in range(len(pads) // 2):
        axis = len(meta.shape) - 1 - pair
        region = values.cut(region, axis, pads[2 * pair], given[0].shape[axis])
    low.put(region, given[0])
    return target


HANDLERS: dict[str, Handler] = {
    "view": _view, "_unsafe_view": _view, "reshape": _view, "clone": _same, "alias": _same, "detach": _same,
    "lift_fresh_copy": _same, "_to_copy": _same, "convert_element_type": _same, "contiguous": _same,
    "permute": _permute, "transpose": _transpose,
    "t": _transpose, "expand": _expand, "unsqueeze": _unsqueeze, "squeeze": _squeeze, "slice": _slice,
    "select": _select, "split_with_sizes": _split, "split": _split, "unbind": _unbind, "full": _full,
    "full_like": _full, "zeros": _zeros, "zeros_like": _zeros, "empty": _zeros, "empty_like": _zeros,
    "empty_permuted": _zeros, "empty_strided": _zeros, "new_zeros": _zeros, "new_empty": _zeros, "ones": _ones,
    "ones_like": _ones, "new_ones": _ones, "new_full": _full, "scalar_tensor": _scalar, "arange": _arange,
    "where": _where, "clamp": _clamp, "clamp_min": _clamp, "sum": _sum, "mean": _mean, "amax": _extreme("amax"),
    "amin": _extreme("amin"), "any": _extreme("any"), "all": _extreme("all"), "var": _variance,
    "var_mean": _variance, "argmax": _position("max"), "argmin": _position("min"), "mm": _mm, "bmm": _mm,
    "addmm": _addmm, "baddbmm": _addmm, "mv": _mv, "dot": _dot, "cat": _cat,
    "stack": _stack, "slice_scatter": _slice_scatter, "select_scatter": _select_scatter,
    "constant_pad_nd": _pad,
}  # fmt: skip
