"""Data and steps that stay where they are in memory, as a CUDA graph needs them."""

import itertools
from collections.abc import Callable, Sequence
from typing import final

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

from ..data import Examples
from .step import State

WARM_UPS = 3  # steps outside of a graph before one is captured, as torch asks for

Move = Callable[[State, Tensor, Tensor, Sequence[Tensor]], tuple[Tensor, State]]


@final
class FixedMemory:
    """Steps whose inputs and results stay where they are in memory, as a CUDA graph needs it.

    The state is changed in place. A counter on the device says which step of the span is next, so that replaying the
    graph is all that a step takes. On a CPU the same step runs without a graph.
    """

    def __init__(self, move: Move, state: State, span: Sequence[Tensor], capacity: int) -> None:
        self.note: str = ""
        self._move = move
        self._state = state
        self._span = [one.new_empty((capacity, *one.shape[1:])) for one in span]
        self._counter = span[0].new_zeros(1)
        self._losses = span[1].new_zeros((capacity, span[1].shape[1]))
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream(self._counter.device) if self._counter.is_cuda else None
        self._warm = 0

    def run(self, span: Sequence[Tensor]) -> Tensor:
        """Take the steps of the span; return losses, (step, row)."""
        for place, values in zip(self._span, span, strict=True):
            place[: len(values)].copy_(values)
        self._counter.zero_()
        for _ in span[0]:
            if self._stream is None:
                self._once()
            else:
                self._replay(self._stream)
        return self._losses[: len(span[0])].clone()

    def _once(self) -> None:
        index, coefficients, *noise = (one.index_select(0, self._counter)[0] for one in self._span)
        losses, moved = self._move(self._state, index, coefficients, noise)
        places, values = tree_flatten(self._state)[0], tree_flatten(moved)[0]
        held = {one.untyped_storage().data_ptr() for one in places}
        # a new slot may be an old parameter, which is about to be overwritten
        values = [one.clone() if one.untyped_storage().data_ptr() in held else one for one in values]
        for place, value in zip(places, values, strict=True):
            place.copy_(value)
        self._losses.index_copy_(0, self._counter, losses[None])
        self._counter.add_(1)

    def _replay(self, stream: torch.cuda.Stream) -> None:
        """Take a step from the graph; the first steps, which torch asks for before it can be captured, without."""
        if self._graph is None and self._warm == WARM_UPS and not self.note:
            self._capture(stream)
        if self._graph is not None:
            self._graph.replay()
            return
        main = torch.cuda.current_stream(self._counter.device)
        stream.wait_stream(main)
        with torch.cuda.stream(stream):
            self._once()
        main.wait_stream(stream)
        self._warm += self._warm < WARM_UPS

    def _capture(self, stream: torch.cuda.Stream) -> None:
        graph = torch.cuda.CUDAGraph()
        try:
            # nothing runs while a graph is captured: a failure leaves state and counter as they were
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                self._once()
            self._graph = graph
        except Exception as error:  # noqa: BLE001  the steps run all the same
            torch.cuda.synchronize(self._counter.device)
            self.note = f"its step could not be captured in a CUDA graph ({said(error)}), so that steps are slower"


@final
class Pool:
    """The training examples of all slots in one set, which stays where it is in memory while its size does."""

    def __init__(self) -> None:
        self.whole: Examples = Examples(torch.empty(0), torch.empty(0))
        self._parts: dict[tuple[int, int], Examples] = {}

    def hold(self, parts: Sequence[Examples]) -> tuple[list[int], bool]:
        """Take over the data of every slot; return where each begins, and whether the set has moved in memory."""
        distinct = {(id(one.inputs), id(one.targets)): one for one in parts}
        ends = itertools.accumulate(map(len, distinct.values()))
        starts = dict(zip(distinct, (0, *ends), strict=False))
        first = [starts[id(one.inputs), id(one.targets)] for one in parts]
        before, self._parts = self._parts, distinct
        if list(before) == list(distinct):
            return first, False
        joined = next(iter(distinct.values()))
        if before or len(distinct) > 1:
            each = distinct.values()
            joined = Examples(torch.cat([one.inputs for one in each]), torch.cat([one.targets for one in each]))
        is_own = all(one.inputs is not self.whole.inputs for one in before.values())
        if is_own and joined.inputs.shape == self.whole.inputs.shape:
            self.whole.inputs.copy_(joined.inputs)
            self.whole.targets.copy_(joined.targets)
            return first, False
        self.whole = joined
        return first, True


def said(error: Exception) -> str:
    """Return the kind of an error and its first line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:200]}"
