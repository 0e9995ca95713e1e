"""Calls into a compiled step and a compiled evaluation."""

import ctypes
import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from ...data import Examples
from ..step import State, Step
from .build import Library, compiled
from .graph import trace_look, trace_step
from .program import Program, look_program, step_program
from .values import Unsupported

CHUNK = 128  # examples evaluated at once: the layers of a small model then stay in the processor's cache
DRAWS = {
    "bernoulli": lambda place, chance, draw: place.bernoulli_(chance, generator=draw),
    "rand": lambda place, chance, draw: place.uniform_(generator=draw),
    "rand_like": lambda place, chance, draw: place.uniform_(generator=draw),
    "randn": lambda place, chance, draw: place.normal_(generator=draw),
    "randn_like": lambda place, chance, draw: place.normal_(generator=draw),
}


@final
class CompiledStep:
    """Takes many steps of one replica in one call."""

    def __init__(self, program: Program, library: Library, coefficients: int) -> None:
        self._program = program
        self._library = library
        self._coefficients = coefficients
        self._work = torch.empty(program.work, dtype=torch.uint8)
        self._constants = _addresses(program.constants)

    def advance(
        self, state: State, data: Examples, index: Tensor, coefficients: np.ndarray, draw: torch.Generator
    ) -> Tensor:
        """Change `state` by as many steps as `index` has rows; return their losses, up to the first not finite.

        Args:
            state: Contiguous tensors on the CPU.
            data: The training set, contiguous, in the program's types.
            index: Shape (step, example), int64, contiguous.
            coefficients: Shape (step, coefficient), float64.
            draw: The replica's stream of random numbers, for dropout.

        Raises:
            IndexError: If a label or token is outside of its axis.
        """
        steps = len(index)
        flat = tree_flatten(state)[0]
        dtype = state.parameters[0].dtype
        rows = torch.from_numpy(coefficients).to(dtype).contiguous()
        losses = torch.empty(steps, dtype=dtype)
        noise = self._noise(steps, draw)
        taken = self._library.run(
            ctypes.c_long(steps), _pointer(index), _pointer(rows), _pointer(data.inputs), _pointer(data.targets),
            _addresses(flat), _addresses(noise), self._constants, _pointer(losses), _aligned(self._work),
        )  # fmt: skip
        if taken < 0:
            raise IndexError("a label or token of the training data is outside of the axis that it points into")
        return losses[:taken]

    def _noise(self, steps: int, draw: torch.Generator) -> list[Tensor]:
        asked = self._program.noise
        drawn = [torch.empty((steps, *one.shape), dtype=one.dtype) for one in asked]
        places = [torch.empty_strided(one.shape, one.strides, dtype=one.dtype) for one in asked]
        for step in range(steps if drawn else 0):
            for rows, place, one in zip(drawn, places, asked, strict=True):
                DRAWS[one.operation](place, one.chance, draw)
                rows[step].copy_(place)
        return drawn


@final
class CompiledLook:
    """Evaluates losses and metric of one replica on a set of examples."""

    def __init__(self, program: Program, library: Library, chunk: int) -> None:
        self._library = library
        self._chunk = chunk
        self._work = torch.empty(program.work, dtype=torch.uint8)
        self._constants = _addresses(program.constants)
        self._tensors = program.constants
        self._padded: dict[int, tuple[Examples, Examples]] = {}

    def means(self, state: State, part: Examples) -> tuple[float, float]:
        """Return the mean loss and the mean metric on `part`.

        Raises:
            IndexError: If a label or token is outside of its axis.
        """
        if id(part) not in self._padded:
            self._padded[id(part)] = (part, padded(part, self._chunk))
        whole = self._padded[id(part)][1]
        sums = np.zeros(2)
        failed = self._library.run(
            ctypes.c_long(len(part)), _pointer(whole.inputs), _pointer(whole.targets),
            _addresses([*state.parameters, *state.buffers]), self._constants, ctypes.c_void_p(sums.ctypes.data),
            _aligned(self._work),
        )  # fmt: skip
        if failed:
            raise IndexError("a label or token of the data is outside of the axis that it points into")
        return float(sums[0]) / len(part), float(sums[1]) / len(part)


def padded(part: Examples, chunk: int) -> Examples:
    """Return the set lengthened to a multiple of `chunk` by repeating its last example, contiguous."""
    more = -len(part) % chunk
    if not more:
        return Examples(part.inputs.contiguous(), part.targets.contiguous())
    inputs, targets = (torch.cat([one, one[-1:].expand(more, *one.shape[1:])]) for one in (part.inputs, part.targets))
    return Examples(inputs.contiguous(), targets.contiguous())


def compile_step(step: Step, state: State, data: Examples, size: int, *, coefficients: int, seconds: float) -> CompiledStep:
    """Return the compiled step for batches of `size` examples.

    Raises:
        Unsupported: If the model cannot be traced or written as C, or the compiler fails.
    """
    batch = (data.inputs[:1].expand(size, *data.inputs.shape[1:]), data.targets[:1].expand(size, *data.targets.shape[1:]))
    traced = trace_step(step, state, (batch[0].contiguous(), batch[1].contiguous()), coefficients)
    program = step_program(traced)
    return CompiledStep(program, compiled(program.source, seconds=seconds), coefficients)


def compile_look(step: Step, state: State, part: Examples, *, seconds: float) -> CompiledLook:
    """Return the compiled evaluation, in chunks of at most 128 examples.

    Raises:
        Unsupported: If the model cannot be traced or written as C, or the compiler fails.
    """
    chunk = min(CHUNK, 1 << max(math.ceil(math.log2(max(len(part), 1))), 0))
    sample = padded(Examples(part.inputs[:1], part.targets[:1]), chunk)
    program = look_program(trace_look(step, state, (sample.inputs, sample.targets)))
    return CompiledLook(program, compiled(program.source, seconds=seconds), chunk)


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * max(len(tensors), 1))(*(one.data_ptr() for one in tensors))


def _aligned(work: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(-(-work.data_ptr() // 64) * 64)


__all__ = ["CompiledLook", "CompiledStep", "Unsupported", "compile_look", "compile_step"]
