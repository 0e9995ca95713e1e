"""Random draws of a stacked step: what the plain model would draw, from each run's own stream."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .native.values import Unsupported

aten = torch.ops.aten
# Random operations, and the method that fills memory with what they draw.
IN_PLACE = {aten.bernoulli_.float: Tensor.bernoulli_, aten.uniform_.default: Tensor.uniform_,
            aten.normal_.default: Tensor.normal_}  # fmt: skip
FRESH = {aten.rand: Tensor.uniform_, aten.rand_like: Tensor.uniform_, aten.randn: Tensor.normal_,
         aten.randn_like: Tensor.normal_}  # fmt: skip


@final
@dataclass(frozen=True)
class Draw:
    """One random draw of the plain model: torch fills memory in the order of the strides."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    fill: Callable[..., Tensor]
    numbers: tuple[float, ...]

    def into(self, place: Tensor, stream: torch.Generator) -> None:
        """Write into `place` what the plain model draws next from `stream`."""
        drawn = torch.empty_strided(self.shape, self.strides, dtype=self.dtype)
        place.copy_(self.fill(drawn, *self.numbers, generator=stream))


@final
class Watch(TorchDispatchMode):
    """Notes every random draw of a plain module."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Draw] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if not is_random(func):
            return found
        numbers: tuple[float, ...] = ()
        if func in IN_PLACE:
            fill, numbers = IN_PLACE[func], tuple(args[1:])
        elif func is aten.bernoulli.p:
            fill, numbers = Tensor.bernoulli_, (args[1],)
        elif func.overloadpacket in FRESH:
            fill = FRESH[func.overloadpacket]
        else:
            raise Unsupported(f"it draws random numbers with {func}, whose stream cannot be followed")
        if (kwargs or {}).get("generator") is not None:
            raise Unsupported("it draws random numbers from a generator of its own")
        self.seen.append(Draw(tuple(found.shape), tuple(found.stride()), found.dtype, fill, numbers))
        return found


@final
class Substituted(TorchDispatchMode):
    """Puts given numbers [replica, ...] in place of random draws. It sees the operations that vmap has made."""

    def __init__(self, noise: Sequence[Tensor]) -> None:
        super().__init__()
        self.left = list(noise)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not is_random(func):
            return func(*args, **(kwargs or {}))
        if not self.left:
            raise Unsupported(f"stacked it draws random numbers with {func} that it does not draw alone")
        noise = self.left.pop(0)
        shape = torch.Size(args[0]) if isinstance(args[0], (list, tuple)) else args[0].shape
        if noise.shape != shape:
            raise Unsupported(f"stacked its random numbers have shape {tuple(shape)}, not {tuple(noise.shape)}")
        if func in IN_PLACE:
            return cast(Tensor, args[0]).copy_(noise)
        if func is aten.native_dropout.default:  # the fused form of CUDA: whole result, then what is kept
            return args[0] * noise / (1 - args[1]), noise.bool()
        if func is aten.bernoulli.p or func.overloadpacket in FRESH:
            return noise.clone()
        raise Unsupported(f"it draws random numbers with {func}, which cannot be replaced")


def is_random(func: Any) -> bool:
    """Return whether an operation draws random numbers."""
    return torch.Tag.nondeterministic_seeded in func.tags and func.overloadpacket is not aten._fused_sdp_choice
