"""Operations that are more than element by element: views, reductions, products, look-ups, convolutions."""

import math
from collections.abc import Callable
from typing import Any

import torch

from . import loops, values
from .loops import Statement
from .lowering import Lowering, counting, operand, product
from .values import SUFFIXES, Constant, Leaf, Unsupported, Value

Handler = Callable[[Lowering, tuple[Any, ...], dict[str, Any], Any], Any]


def _argument(given: tuple[Any, ...], at: int, default: Any = None) -> Any:
    return given[at] if len(given) > at and given[at] is not None else default


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
    named = _argument(given, 1, range(len(shape)))
    named = [named] if isinstance(named, int) else named
    return values.drop(given[0], [axis for axis in named if shape[axis] == 1])


def _slice(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = _argument(given, 1, 0) % len(given[0].shape)
    size = given[0].shape[axis]
    start = _argument(given, 2, 0)
    start = max(0, min(size, start + size if start < 0 else start))
    return values.cut(given[0], axis, start, meta.shape[axis], _argument(given, 4, 1))


def _select(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = given[1] % len(given[0].shape)
    return values.drop(values.cut(given[0], axis, given[2] % given[0].shape[axis], 1), [axis])


def _split(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: list[torch.Tensor]) -> list[Value]:
    axis = _argument(given, 2, 0) % len(given[0].shape)
    found, start = [], 0
    for one in meta:
        found.append(values.cut(given[0], axis, start, one.shape[axis]))
        start += one.shape[axis]
    return found


def _unbind(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: list[torch.Tensor]) -> list[Value]:
    axis = _argument(given, 1, 0) % len(given[0].shape)
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
    step = _argument(given, 2, 1)
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
    bounds = (_argument(given, 1, options.get("min")), "max"), (_argument(given, 2, options.get("max")), "min")
    for bound, name in bounds:
        if bound is None:
            continue
        template = f"{name}_{{s}}({{0}}, {{1}})"
        if not meta.dtype.is_floating_point:
            template = f"{{0}} {'<' if name == 'max' else '>'} {{1}} ? {{1}} : {{0}}"
        found = low.apply(template, [found, low.number(bound)], meta.dtype)
    return found


def _sum(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    dims = _argument(given, 1, [])
    return low.reduce(given[0], dims, "sum", keep=bool(_argument(given, 2, False)), dtype=meta.dtype)


def _mean(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    total = _sum(low, given, options, meta)
    count = math.prod(given[0].shape) / max(math.prod(total.shape), 1)
    return low.apply("{0} / {1}", [total, low.number(float(count))], meta.dtype)


def _extreme(kind: str) -> Handler:
    def handler(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
        dims = _argument(given, 1, [])
        dims = [dims] if isinstance(dims, int) else dims
        value = low.cast(given[0], torch.bool) if kind in ("any", "all") else given[0]
        return low.reduce(value, dims, kind, keep=bool(_argument(given, 2, False)))

    return handler


def _variance(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: Any) -> Any:
    value = low.memory(given[0])
    rank = len(value.shape)
    dims = [dim % rank for dim in (_argument(given, 1) or range(rank))]
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
        assert isinstance(source, Leaf) and isinstance(out, Leaf)
        outer = [(f"i{at}", size) for at, size in enumerate(value.shape) if at != axis]
        at_source = " + ".join([str(source.offset)] + [f"i{at} * {by}" for at, by in enumerate(source.strides) if at != axis])
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
        return target if bool(_argument(given, 2, False)) else values.drop(target, [axis])

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


def _gather(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    source, axis, index = low.memory(given[0]), given[1] % max(len(given[0].shape), 1), low.memory(given[2])
    leaf = source.tree
    assert isinstance(leaf, Leaf)
    strides = tuple(0 if at == axis else by for at, by in enumerate(leaf.strides))
    looked_up = ((index.tree, leaf.strides[axis], source.shape[axis]),)
    return Value(index.shape, Leaf(leaf.buffer, leaf.offset, strides, looked_up))


def _look_up(low: Lowering, source: Value, indices: list[Value | None], meta: torch.Tensor) -> Value:
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
        found.append((values.expand(index, out).tree, leaf.strides[at], source.shape[at]))
    return Value(out, Leaf(leaf.buffer, leaf.offset, strides, tuple(found)))


def _index(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return _look_up(low, given[0], list(given[1]), meta)


def _index_select(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = given[1] % len(given[0].shape)
    return _look_up(low, given[0], [None] * axis + [given[2]], meta)


def _embedding(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    return _look_up(low, given[0], [given[1]], meta)


def _index_put(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    target = low.copy(given[0])
    adds = bool(_argument(given, 3, False))
    probe = torch.empty(target.shape, device="meta")
    indices = list(given[1])
    picked = probe[tuple(slice(None) if one is None else torch.zeros(one.shape, dtype=torch.int64) for one in indices)]
    place = _look_up(low, target, indices, picked)
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
    head = "".join(f"for (long {name} = 0; {name} < {size}; {name}++) " for (name, _), (size, _) in zip(names, axes, strict=True))
    text = f"{head}{loops.text_of(leaf, names)} {'+=' if adds else '='} {loops.text_of(source.tree, names)};"
    reads = loops.reads_of(leaf) | loops.reads_of(source.tree)
    low.statements.append(Statement(text, reads, {leaf.buffer}))
    return target


def _cat(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = _argument(given, 1, 0) % len(meta.shape)
    target, start = low.new(tuple(meta.shape), meta.dtype), 0
    for one in given[0]:
        if len(one.shape) != len(meta.shape) or math.prod(one.shape) == 0:
            continue
        low.put(values.cut(target, axis, start, one.shape[axis]), low.cast(one, meta.dtype))
        start += one.shape[axis]
    return target


def _stack(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    axis = _argument(given, 1, 0) % len(meta.shape)
    return _cat(low, ([values.insert(one, axis) for one in given[0]], axis), {}, meta)


def _slice_scatter(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    target, source = low.copy(given[0]), given[1]
    axis = _argument(given, 2, 0) % len(target.shape)
    start = _argument(given, 3, 0)
    start = max(0, start + target.shape[axis] if start < 0 else start)
    low.put(values.cut(target, axis, start, source.shape[axis], _argument(given, 5, 1)), source)
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
    low.put(target, _constant(_argument(given, 2, 0), meta))
    region = target
    for pair in range(len(pads) // 2):
        axis = len(meta.shape) - 1 - pair
        region = values.cut(region, axis, pads[2 * pair], given[0].shape[axis])
    low.put(region, given[0])
    return target


def _geometry(given: Value, weight: Value, options: tuple[Any, ...]) -> list[int]:
    """Return images, groups, channels in and out a group, heights, widths, kernel, stride, padding and dilation."""
    stride, padding, dilation, transposed, _, groups = options
    if transposed or len(given.shape) not in (3, 4):
        raise Unsupported("transposed and three-dimensional convolutions have no C form")
    flat = len(given.shape) == 3
    high, wide = (1, given.shape[2]) if flat else given.shape[2:]
    size = (1, weight.shape[2]) if flat else weight.shape[2:]
    pairs = []
    for one, neutral in ((stride, 1), (padding, 0), (dilation, 1)):
        full = list(one) * (2 if len(one) == 1 and not flat else 1)
        pairs += [neutral, full[-1]] if flat else full
    return [given.shape[0], groups, weight.shape[1], weight.shape[0] // groups, high, wide, *size, *pairs]


def _convolution(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    source, weight = (low.memory(one) for one in given[:2])
    source, weight = (_row_major(low, one) for one in (source, weight))
    facts = _geometry(source, weight, given[3:9])
    target = low.new(tuple(meta.shape), meta.dtype)
    places = math.prod(meta.shape[2:])
    columns = low.new((facts[2] * facts[6] * facts[7] * places,), meta.dtype)
    _call(low, f"convolve_{SUFFIXES[meta.dtype]}", facts, [source, weight], [target, columns])
    if given[2] is None:
        return target
    bias = given[2]
    for _ in meta.shape[2:]:
        bias = values.insert(bias, len(bias.shape))
    return low.apply("{0} + {1}", [target, bias], meta.dtype)


def _convolution_backward(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: Any) -> list[Value | None]:
    gradient, source, weight = (_row_major(low, low.memory(one)) for one in given[:3])
    facts = _geometry(source, weight, given[4:10])
    suffix = SUFFIXES[gradient.dtype]
    wanted = given[10]
    places = math.prod(gradient.shape[2:])
    found: list[Value | None] = [None, None, None]
    columns = low.new((facts[2] * facts[6] * facts[7] * places,), gradient.dtype)
    if wanted[0]:
        found[0] = low.new(source.shape, gradient.dtype)
        _call(low, f"convolve_inputs_{suffix}", facts, [gradient, weight], [found[0], columns])
    if wanted[1]:
        found[1] = low.new(weight.shape, gradient.dtype)
        _call(low, f"convolve_weights_{suffix}", facts, [gradient, source], [found[1], columns])
    if wanted[2]:
        found[2] = low.reduce(gradient, [0, *range(2, len(gradient.shape))], "sum", keep=False)
    return found


def _row_major(low: Lowering, value: Value) -> Value:
    leaf = value.tree
    is_plain = isinstance(leaf, Leaf) and leaf.strides == values.contiguous(value.shape)
    return value if is_plain else low.copy(value)


def _call(low: Lowering, name: str, facts: list[int], reads: list[Value], writes: list[Value]) -> None:
    texts, used = [], []
    for one in (*reads, *writes):
        leaf = one.tree
        assert isinstance(leaf, Leaf)
        texts.append(f"{leaf.buffer.name} + {leaf.offset}")
        used.append(leaf.buffer)
    numbers = ", ".join(map(str, facts))
    low.statements.append(
        Statement(f"{name}({numbers}, {', '.join(texts)});", set(used[: len(reads)]), set(used[len(reads) :]))
    )


def _window(given: tuple[Any, ...], shape: tuple[int, ...], out: tuple[int, ...]) -> list[int]:
    """Return planes, heights and widths in and out, kernel, stride, padding and dilation of a pooling."""
    kernel = list(given[0]) * (2 if len(given[0]) == 1 else 1)
    stride = list(_argument(given, 1, []) or kernel)
    padding, dilation = list(_argument(given, 2, [0])), list(_argument(given, 3, [1]))
    pairs = [one * (2 if len(one) == 1 else 1) for one in (kernel, stride, padding, dilation)]
    return [math.prod(shape[:-2]), *shape[-2:], *out[-2:], *(number for pair in pairs for number in pair)]


def _max_pool(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: Any) -> list[Value]:
    source = _row_major(low, low.memory(given[0]))
    facts = _window(given[1:], source.shape, tuple(meta[0].shape))
    target, places = low.new(tuple(meta[0].shape), meta[0].dtype), low.new(tuple(meta[0].shape), torch.int64)
    _call(low, f"max_pool_{SUFFIXES[target.dtype]}", facts, [source], [target, places])
    return [target, places]


def _max_pool_backward(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    gradient, places = (_row_major(low, low.memory(one)) for one in (given[0], given[7]))
    target = low.new(tuple(meta.shape), meta.dtype)
    facts = [math.prod(meta.shape[:-2]), math.prod(meta.shape[-2:]), math.prod(gradient.shape[-2:])]
    _call(low, f"max_pool_back_{SUFFIXES[target.dtype]}", facts, [gradient, places], [target])
    return target


def _average(low: Lowering, given: tuple[Any, ...]) -> None:
    if _argument(given, 4, False) or not _argument(given, 5, True) or _argument(given, 6):
        raise Unsupported("average pooling with an uneven divisor has no C form")


def _avg_pool(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    _average(low, (None, *given[1:4], *given[4:]))
    source = _row_major(low, low.memory(given[0]))
    facts = _window((*given[1:4],), source.shape, tuple(meta.shape))
    target = low.new(tuple(meta.shape), meta.dtype)
    _call(low, f"avg_pool_{SUFFIXES[target.dtype]}", facts, [source], [target])
    return target


def _avg_pool_backward(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    _average(low, (None, *given[2:5], *given[5:]))
    gradient = _row_major(low, low.memory(given[0]))
    facts = _window((*given[2:5],), tuple(meta.shape), gradient.shape)
    target = low.new(tuple(meta.shape), meta.dtype)
    _call(low, f"avg_pool_back_{SUFFIXES[target.dtype]}", facts, [gradient], [target])
    return target


HANDLERS: dict[str, Handler] = {
    "view": _view, "_unsafe_view": _view, "reshape": _view, "clone": _same, "alias": _same, "detach": _same,
    "lift_fresh_copy": _same, "_to_copy": _same, "convert_element_type": _same, "contiguous": _same, "permute": _permute, "transpose": _transpose,
    "t": _transpose, "expand": _expand, "unsqueeze": _unsqueeze, "squeeze": _squeeze, "slice": _slice,
    "select": _select, "split_with_sizes": _split, "split": _split, "unbind": _unbind, "full": _full,
    "full_like": _full, "zeros": _zeros, "zeros_like": _zeros, "empty": _zeros, "empty_like": _zeros,
    "empty_permuted": _zeros, "empty_strided": _zeros, "new_zeros": _zeros, "new_empty": _zeros, "ones": _ones,
    "ones_like": _ones, "new_ones": _ones, "new_full": _full, "scalar_tensor": _scalar, "arange": _arange,
    "where": _where, "clamp": _clamp, "clamp_min": _clamp, "sum": _sum, "mean": _mean, "amax": _extreme("amax"),
    "amin": _extreme("amin"), "any": _extreme("any"), "all": _extreme("all"), "var": _variance,
    "var_mean": _variance, "argmax": _position("max"), "argmin": _position("min"), "mm": _mm, "bmm": _mm,
    "addmm": _addmm, "baddbmm": _addmm, "mv": _mv, "dot": _dot, "gather": _gather, "index": _index,
    "index_select": _index_select, "embedding": _embedding, "index_put": _index_put,
    "_unsafe_index_put": _index_put, "scatter": _scatter(False), "scatter_add": _scatter(True), "cat": _cat,
    "stack": _stack, "slice_scatter": _slice_scatter, "select_scatter": _select_scatter,
    "constant_pad_nd": _pad, "convolution": _convolution, "convolution_backward": _convolution_backward,
    "max_pool2d_with_indices": _max_pool, "max_pool2d_with_indices_backward": _max_pool_backward,
    "avg_pool2d": _avg_pool, "avg_pool2d_backward": _avg_pool_backward,
}  # fmt: skip
