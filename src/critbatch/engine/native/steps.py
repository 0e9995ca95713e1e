"""Calls into a compiled step and a compiled evaluation."""

import ctypes
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from ...cache import recall, remember
from ...data import Examples
from ...plan import describe
from ..step import State, Step
from .build import Library, compiled, load
from .graph import trace_gradient, trace_look, trace_step
from .lowering import Noise
from .program import Program, look_program, step_program, sums_program

MOST_PARTS = 8  # sets of examples that an evaluation keeps ready
MOST_DRAWN = 2**22  # random numbers held at once, for dropout
CHUNK = 128  # examples evaluated at once: the layers of a small model then stay in the processor's cache
DRAWS = {
    "bernoulli": lambda place, chance, draw: place.bernoulli_(chance, generator=draw),
    "rand": lambda place, chance, draw: place.uniform_(generator=draw),
    "rand_like": lambda place, chance, draw: place.uniform_(generator=draw),
    "randn": lambda place, chance, draw: place.normal_(generator=draw),
    "randn_like": lambda place, chance, draw: place.normal_(generator=draw),
}


@final
@dataclass(frozen=True, eq=False)
class Built:
    """A compiled program and what a call needs besides."""

    library: Library
    work: int
    noise: tuple[Noise, ...]
    constants: tuple[Tensor, ...]


def built(about: Mapping[str, Any], make: Callable[[], Program], seconds: float) -> Built:
    """Return the compiled program of `make`, which is asked only if nothing is kept about these facts.

    Args:
        about: All that the program depends on, versions among it.
        make: Traces the model and writes the program.
        seconds: How long the compiler may take.

    Raises:
        Unsupported: If the model cannot be traced or written as C, or the compiler fails.
    """
    known = recall(about)
    library = load(known["library"]) if known else None
    if library is not None:
        noise = tuple(
            Noise(name, getattr(torch, kind), tuple(shape), tuple(strides), chance)
            for name, kind, shape, strides, chance in known["noise"]
        )
        return Built(library, known["work"], noise, ())
    program = make()
    library, name = compiled(program.source, seconds=seconds)
    if not program.constants:
        noise_facts = [[one[0], str(one.dtype).removeprefix("torch."), *one[2:]] for one in program.noise]
        remember(about, {"library": name, "work": program.work, "noise": noise_facts})
    return Built(library, program.work, program.noise, program.constants)


@final
class CompiledStep:
    """Takes many steps of one replica in one call."""

    def __init__(self, program: Built, like: Examples) -> None:
        self._program = program
        self._kind = kind_of(like)
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
            IndexError: If a label, token or example's index is outside of its axis.
            TypeError: If the data are not like those that the step was compiled for.
        """
        if kind_of(data) != self._kind or index.dtype != torch.int64:
            raise TypeError(f"the step is compiled for examples {self._kind}, not {kind_of(data)}")
        if int(index.min()) < 0 or int(index.max()) >= len(data):
            raise IndexError(f"an index is outside of the {len(data)} training examples")
        drawn = sum(math.prod(one.shape) for one in self._program.noise)
        most = max(1, MOST_DRAWN // drawn) if drawn else max(len(index), 1)
        losses: list[Tensor] = []
        for start in range(0, len(index), most):
            some = slice(start, start + most)
            losses.append(self._take(state, data, index[some], coefficients[some], draw))
            if not bool(losses[-1][-1].isfinite()):
                break
        return torch.cat(losses)

    def _take(
        self, state: State, data: Examples, index: Tensor, coefficients: np.ndarray, draw: torch.Generator
    ) -> Tensor:  # fmt: skip
        steps = len(index)
        dtype = state.parameters[0].dtype
        rows = torch.from_numpy(coefficients).to(dtype).contiguous()
        losses = torch.empty(steps, dtype=dtype)
        noise = self._noise(steps, draw)
        taken = self._program.library.run(
            ctypes.c_long(steps), _pointer(index), _pointer(rows), _pointer(data.inputs), _pointer(data.targets),
            _addresses(tree_flatten(state)[0]), _addresses(noise), self._constants, _pointer(losses),
            _aligned(self._work),
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

    def __init__(self, program: Built, chunk: int, like: Examples) -> None:
        self._program = program
        self._chunk = chunk
        self._kind = kind_of(like)
        self._work = torch.empty(program.work, dtype=torch.uint8)
        self._constants = _addresses(program.constants)
        self._padded: dict[int, tuple[Examples, Examples]] = {}

    def means(self, state: State, part: Examples) -> tuple[float, float] | None:
        """Return the mean loss and the mean metric on `part`, or None if it is not like the examples compiled for.

        Raises:
            IndexError: If a label or token is outside of its axis.
        """
        if kind_of(part) != self._kind:
            return None
        if id(part) not in self._padded:
            if len(self._padded) >= MOST_PARTS:
                self._padded.clear()
            self._padded[id(part)] = (part, padded(part, self._chunk))
        whole = self._padded[id(part)][1]
        sums = np.zeros(2)
        failed = self._program.library.run(
            ctypes.c_long(len(part)), _pointer(whole.inputs), _pointer(whole.targets),
            _addresses([*state.parameters, *state.buffers]), self._constants, ctypes.c_void_p(sums.ctypes.data),
            _aligned(self._work),
        )  # fmt: skip
        if failed:
            raise IndexError("a label or token of the data is outside of the axis that it points into")
        return float(sums[0]) / len(part), float(sums[1]) / len(part)


@final
class CompiledSums:
    """Adds up the gradients of single examples of one replica."""

    def __init__(self, program: Built) -> None:
        self._program = program
        self._work = torch.empty(program.work, dtype=torch.uint8)
        self._constants = _addresses(program.constants)

    def sums(self, state: State, inputs: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        """Return the sum of the examples' gradients, shape (parameter,), and of their squared norms, in float64.

        Raises:
            IndexError: If a label or token is outside of its axis.
        """
        found = torch.zeros(sum(one.numel() for one in state.parameters) + 1, dtype=torch.float64)
        inputs, targets = inputs.contiguous(), targets.contiguous()
        failed = self._program.library.run(
            ctypes.c_long(len(inputs)), _pointer(inputs), _pointer(targets),
            _addresses([*state.parameters, *state.buffers]), self._constants, _pointer(found), _aligned(self._work),
        )  # fmt: skip
        if failed:
            raise IndexError("a label or token of the data is outside of the axis that it points into")
        return found[:-1], float(found[-1])


def kind_of(some: Examples) -> tuple[Any, ...]:
    """Return shape and type of an example and of its target."""
    return tuple(fact for one in (some.inputs, some.targets) for fact in (tuple(one.shape[1:]), str(one.dtype)))


def padded(part: Examples, chunk: int) -> Examples:
    """Return the set lengthened to a multiple of `chunk` by repeating its last example, contiguous."""
    more = -len(part) % chunk
    if not more:
        return Examples(part.inputs.contiguous(), part.targets.contiguous())
    inputs, targets = (torch.cat([one, one[-1:].expand(more, *one.shape[1:])]) for one in (part.inputs, part.targets))
    return Examples(inputs.contiguous(), targets.contiguous())


@final
@dataclass(frozen=True, eq=False)
class Workbench:
    """Compiles the programs of one step.

    Attributes:
        step: What is compiled.
        data: The training set, in the step's type.
        about: What the model depends on, versions among it: compiled programs are kept under it.
        seconds: How long each call of the compiler may take.
    """

    step: Step
    data: Examples
    about: Mapping[str, Any]
    seconds: float

    def step_of(self, size: int) -> CompiledStep:
        """Return the compiled step for batches of `size` examples.

        Raises:
            Unsupported: If the model cannot be traced or written as C, or the compiler fails.
        """
        count = len(self.step.optimizer.coefficients(np.ones(1), np.ones(1)))
        state = self.step.start(self.step.model)

        def make() -> Program:
            return step_program(trace_step(self.step, state, self._few(self.data, size), count))

        about = {**self.about, "program": "step", "size": size, "optimizer": describe(self.step.optimizer)}
        return CompiledStep(built(about, make, self.seconds), self.data)

    def look_at(self, part: Examples) -> CompiledLook:
        """Return the compiled evaluation, in chunks of at most 128 examples.

        Raises:
            Unsupported: If the model cannot be traced or written as C, or the compiler fails.
        """
        chunk = min(CHUNK, 1 << math.ceil(math.log2(max(len(part), 1))))
        state = self.step.start(self.step.model)

        def make() -> Program:
            return look_program(trace_look(self.step, state, self._few(part, chunk)))

        return CompiledLook(built({**self.about, "program": "look", "size": chunk}, make, self.seconds), chunk, part)

    def sums(self) -> CompiledSums:
        """Return the compiled sums of gradients of single examples.

        Raises:
            Unsupported: If the model cannot be traced or written as C, draws random numbers, or the compiler fails.
        """
        state = self.step.start(self.step.model)

        def make() -> Program:
            return sums_program(trace_gradient(self.step, state, self._few(self.data, 1)))

        return CompiledSums(built({**self.about, "program": "sums"}, make, self.seconds))

    def _few(self, data: Examples, size: int) -> tuple[Tensor, Tensor]:
        some = padded(Examples(data.inputs[:size], data.targets[:size]), size)
        return some.inputs, some.targets


def _pointer(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())


def _addresses(tensors: Sequence[Tensor]) -> Any:
    return (ctypes.c_void_p * max(len(tensors), 1))(*(one.data_ptr() for one in tensors))


def _aligned(work: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(-(-work.data_ptr() // 64) * 64)
