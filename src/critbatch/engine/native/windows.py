"""Convolutions and poolings: calls of the functions in `preamble.c`."""

import math
from typing import Any

import torch

from . import values
from .loops import Statement
from .lowering import Handler, Lowering, argument
from .values import SUFFIXES, Leaf, Unsupported, Value


def _geometry(given: Value, weight: Value, options: tuple[Any, ...]) -> list[int]:
    """Return images, groups, channels in and out a group, heights, widths, kernel, stride, padding and dilation.

    Raises:
        Unsupported: If the convolution is transposed or has three dimensions.
    """
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
    source, weight = (low.row_major(one) for one in (source, weight))
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


def _convolution_backward(
    low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: Any
) -> list[Value | None]:
    gradient, source, weight = (low.row_major(low.memory(one)) for one in given[:3])
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
    stride = list(argument(given, 1, []) or kernel)
    padding, dilation = list(argument(given, 2, [0])), list(argument(given, 3, [1]))
    pairs = [one * (2 if len(one) == 1 else 1) for one in (kernel, stride, padding, dilation)]
    return [math.prod(shape[:-2]), *shape[-2:], *out[-2:], *(number for pair in pairs for number in pair)]


def _max_pool(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: Any) -> list[Value]:
    source = low.row_major(low.memory(given[0]))
    facts = _window(given[1:], source.shape, tuple(meta[0].shape))
    target, places = low.new(tuple(meta[0].shape), meta[0].dtype), low.new(tuple(meta[0].shape), torch.int64)
    _call(low, f"max_pool_{SUFFIXES[target.dtype]}", facts, [source], [target, places])
    return [target, places]


def _max_pool_backward(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    gradient, places = (low.row_major(low.memory(one)) for one in (given[0], given[7]))
    target = low.new(tuple(meta.shape), meta.dtype)
    facts = [math.prod(meta.shape[:-2]), math.prod(meta.shape[-2:]), math.prod(gradient.shape[-2:])]
    _call(low, f"max_pool_back_{SUFFIXES[target.dtype]}", facts, [gradient, places], [target])
    return target


def _average(low: Lowering, given: tuple[Any, ...]) -> None:
    if argument(given, 4, False) or not argument(given, 5, True) or argument(given, 6):
        raise Unsupported("average pooling with an uneven divisor has no C form")


def _avg_pool(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    _average(low, (None, *given[1:4], *given[4:]))
    source = low.row_major(low.memory(given[0]))
    facts = _window((*given[1:4],), source.shape, tuple(meta.shape))
    target = low.new(tuple(meta.shape), meta.dtype)
    _call(low, f"avg_pool_{SUFFIXES[target.dtype]}", facts, [source], [target])
    return target


def _avg_pool_backward(low: Lowering, given: tuple[Any, ...], options: dict[str, Any], meta: torch.Tensor) -> Value:
    _average(low, (None, *given[2:5], *given[5:]))
    gradient = low.row_major(low.memory(given[0]))
    facts = _window((*given[2:5],), tuple(meta.shape), gradient.shape)
    target = low.new(tuple(meta.shape), meta.dtype)
    _call(low, f"avg_pool_back_{SUFFIXES[target.dtype]}", facts, [gradient], [target])
    return target


HANDLERS: dict[str, Handler] = {
    "convolution": _convolution, "convolution_backward": _convolution_backward,
    "max_pool2d_with_indices": _max_pool, "max_pool2d_with_indices_backward": _max_pool_backward,
    "avg_pool2d": _avg_pool, "avg_pool2d_backward": _avg_pool_backward,
}  # fmt: skip
