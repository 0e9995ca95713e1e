"""The stacked engine: the replicas of a cohort as one set of tensors [replica, ...], stepped by `torch.func.vmap`."""

import contextlib
import copy
import dataclasses
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import final

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten
from typing_extensions import override

from ..data import Examples
from ..out_of_memory import halving
from ..randomness import generator
from .draws import Draw, Substituted, Watch
from .fixed_memory import FixedMemory, Pool, said
from .native.values import Unsupported
from .replicas import Block, Replicas
from .step import State, Step, differentiable

LONGEST_SPAN = 64  # steps whose indices, coefficients and noise are sent to the device at once
SPAN_BYTES = 2**26
EVALUATED = 2**16  # examples times replicas in one evaluation


@final
class StackedReplicas(Replicas):
    """Parameters, slots and buffers of all replicas, stacked on a device.

    A replica that is no longer active is put aside with its numbers; its row computes along until half of the rows are
    such, and is then dropped: at most log2(M) times. What a module draws comes from its run's own stream on the CPU:
    there, masks are those of the plain loop. On CUDA the plain loop draws on the device, so that only the distribution
    agrees.

    Attributes:
        note: What had to be done in a slower way, in plain sentences; empty if nothing.
    """

    def __init__(
        self, step: Step, models: Sequence[nn.Module], seeds: Sequence[int], device: torch.device, dtype: torch.dtype,
        *, use_graphs: bool | None = None, looks_together: bool | None = None,
    ) -> None:  # fmt: skip
        """Stack the replicas.

        Args:
            step: Of one replica.
            models: The freshly initialised modules of the runs, in their order.
            seeds: Of the runs; those of one seed share data and order.
            device: Where to train.
            dtype: Of floating parameters and buffers.
            use_graphs: Whether steps run in fixed memory, on CUDA as a captured graph. None: on CUDA.
            looks_together: Whether `means` evaluates all replicas at once. None: on CUDA.

        Raises:
            Unsupported: If the model cannot be vectorised.
        """
        plain = step.model
        model = copy.deepcopy(models[0]).to(device, dtype).train()
        step = dataclasses.replace(step, model=model)
        self.note: str = ""
        self._step, self._plain, self._device, self._dtype = step, plain, device, dtype
        self._module = copy.deepcopy(model)
        self._viewed = copy.deepcopy(model).eval().requires_grad_(False)
        model.requires_grad_(False)
        self._seeds, self._rows = list(seeds), list(range(len(models)))
        self._streams = [generator(seed, "forward") for seed in seeds]
        self._taken = [0] * len(models)
        started = _joined([step.start(one) for one in models])
        self._state = tree_map(lambda one: one.to(device, dtype if one.is_floating_point() else None), started)
        self._aside: dict[int, State] = {}
        self._pool = Pool()
        self._draws: dict[int, tuple[Draw, ...]] = {}
        self._fixed: dict[int, FixedMemory] = {}
        self._use_graphs = device.type == "cuda" if use_graphs is None else use_graphs
        self._looks_together = device.type == "cuda" if looks_together is None else looks_together
        self._seen: dict[tuple[int, int], tuple[Examples, list[tuple[float, float]]]] = {}
        self._chunk = max(EVALUATED // len(models), 1)
        self._is_recurrent = any(isinstance(one, nn.RNNBase) for one in model.modules())
        self._vmapped = vmap(step, randomness="different")
        self._place()
        self._try()

    @override
    def advance(self, active: Sequence[int], block: Block) -> list[Tensor]:
        if not active:
            return []
        self._seen.clear()
        self._arrange(active)
        live = {self._seeds[replica] for replica in active}
        sources = [seed if seed in live else self._seeds[active[0]] for seed in self._slots]
        starts, has_moved = self._pool.hold([block.data[seed] for seed in sources])
        if has_moved:
            self._fixed.clear()
        index = torch.stack([block.index[seed] + start for seed, start in zip(sources, starts, strict=True)], 1)
        coefficients = self._by_row(active, torch.from_numpy(block.coefficients).to(self._dtype))
        draws = self._draws_of(index.shape[2], self._pool.whole.inputs)
        length = self._span_length(index, draws)
        losses: list[Tensor] = []
        with torch.no_grad(), self._plain_operations():
            for rows, numbers in zip(index.split(length), coefficients.split(length), strict=True):
                noise = self._noise(active, draws, len(rows))
                span = [self._send(one) for one in (rows, numbers, *noise)]
                losses.append(self._in_place(span, length) if self._use_graphs else self._direct(span))
        for replica in active:
            self._taken[replica] += len(index)
        table = torch.cat(losses).cpu()
        return [_until_not_finite(table[:, self._rows.index(replica)]) for replica in active]

    @override
    def module(self, replica: int) -> nn.Module:
        self._step.finish(self._one(replica), self._module)
        return self._module.train()

    @override
    def means(self, replica: int, part: Examples) -> tuple[float, float] | None:
        if not self._looks_together or replica in self._aside:
            return None
        key = (id(part.inputs), id(part.targets))
        if key not in self._seen:
            try:
                self._seen[key] = (part, self._evaluate(part))
            except Exception as error:  # noqa: BLE001  the module is asked instead
                self._looks_together = False
                self._add(f"its evaluation cannot be vectorised ({said(error)}); replicas are evaluated one by one")
                return None
        return self._seen[key][1][self._rows.index(replica)]

    def _arrange(self, active: Sequence[int]) -> None:
        """Put inactive replicas aside, and drop their rows once they are half of all."""
        for replica in set(self._rows) - set(active) - set(self._aside):
            self._aside[replica] = tree_map(Tensor.clone, self._one(replica))
        if 2 * len(active) <= len(self._rows) or not self._aside.keys().isdisjoint(active):
            self._state = _joined([self._one(replica) for replica in active])
            self._rows = list(active)
            self._place()
            for replica in active:
                self._aside.pop(replica, None)

    def _place(self) -> None:
        self._slots = list(dict.fromkeys(self._seeds[replica] for replica in self._rows))
        slots = [self._slots.index(self._seeds[replica]) for replica in self._rows]
        self._slot_of_row = torch.tensor(slots, device=self._device)
        self._fixed.clear()

    def _one(self, replica: int) -> State:
        """Return the numbers of a replica; they are views while it has a row."""
        if replica in self._aside:
            return self._aside[replica]
        row = self._rows.index(replica)
        return tree_map(lambda one: one[row], self._state)

    def _by_row(self, active: Sequence[int], coefficients: Tensor) -> Tensor:
        """Return coefficients as (step, row, coefficient); rows of inactive replicas get some that do no harm."""
        order = [active.index(replica) if replica in active else 0 for replica in self._rows]
        return coefficients[order].transpose(0, 1).contiguous()

    def _draws_of(self, size: int, inputs: Tensor) -> tuple[Draw, ...]:
        """Return what the plain model draws in a step of `size` examples."""
        if size not in self._draws:
            watch = Watch()
            batch = inputs[:1].cpu().expand(size, *inputs.shape[1:]).contiguous()
            with torch.random.fork_rng(devices=[]), torch.no_grad(), differentiable(), watch:
                copy.deepcopy(self._plain).cpu().train()(batch)
            self._draws[size] = tuple(watch.seen)
        return self._draws[size]

    def _span_length(self, index: Tensor, draws: Iterable[Draw]) -> int:
        each = sum(math.prod(one.shape) * one.dtype.itemsize for one in draws) * len(self._rows)
        return max(1, min(LONGEST_SPAN, SPAN_BYTES // (each + index[0].nbytes)))

    def _noise(self, active: Sequence[int], draws: Sequence[Draw], steps: int) -> list[Tensor]:
        """Return (step, row, ...) for each draw. Replicas of one seed that have come equally far share it."""
        noise = [torch.zeros((steps, len(self._rows), *one.shape), dtype=one.dtype) for one in draws]
        alike: dict[tuple[int, int], list[int]] = {}
        for replica in active if noise else ():
            alike.setdefault((self._seeds[replica], self._taken[replica]), []).append(replica)
        for first, *others in alike.values():
            row, stream = self._rows.index(first), self._streams[first]
            for step in range(steps):
                for one, draw in zip(noise, draws, strict=True):
                    draw.into(one[step, row], stream)
            for other in others:
                self._streams[other].set_state(stream.get_state())
                for one in noise:
                    one[:, self._rows.index(other)] = one[:, row]
        return noise

    def _send(self, values: Tensor) -> Tensor:
        if self._device.type == "cuda":
            return values.pin_memory().to(self._device, non_blocking=True)
        return values.to(self._device)

    def _in_place(self, span: Sequence[Tensor], capacity: int) -> Tensor:
        size = span[0].shape[2]
        if size not in self._fixed:
            self._fixed[size] = FixedMemory(self._move, self._state, span, capacity)
        losses = self._fixed[size].run(span)
        if self._fixed[size].note:
            self._add(self._fixed[size].note)
        return losses

    def _direct(self, span: Sequence[Tensor]) -> Tensor:
        losses = []
        for index, coefficients, *noise in zip(*span, strict=True):
            loss, self._state = self._move(self._state, index, coefficients, noise)
            losses.append(loss)
        return torch.stack(losses)

    def _move(
        self, state: State, index: Tensor, coefficients: Tensor, noise: Sequence[Tensor]
    ) -> tuple[Tensor, State]:  # fmt: skip
        """Return losses (row) and state after one step with examples (slot, example), coefficients (row, coefficient)."""
        chosen = index.index_select(0, self._slot_of_row)
        inputs, targets = (
            one.index_select(0, chosen.flatten()).unflatten(0, chosen.shape)
            for one in (self._pool.whole.inputs, self._pool.whole.targets)
        )
        if not noise:
            return self._vmapped(state, inputs, targets, coefficients.unbind(-1))
        return self._substituted(state, (inputs, targets), coefficients, noise)

    def _substituted(
        self, state: State, batch: tuple[Tensor, Tensor], coefficients: Tensor, noise: Sequence[Tensor]
    ) -> tuple[Tensor, State]:  # fmt: skip
        with Substituted(noise) as given:
            moved = self._vmapped(state, *batch, coefficients.unbind(-1))
        if given.left:
            raise Unsupported("stacked it draws fewer random numbers than alone")
        return moved

    def _try(self) -> None:
        """Take one step on a copy of at most two replicas.

        Raises:
            Unsupported: If that cannot be done.
        """
        few = self._step.task.train.epoch(0, 0)
        few = Examples(few.inputs[:1], few.targets[:1]).to(self._device, self._dtype)
        state = tree_map(lambda one: one[:2].clone(), self._state)
        rows = len(state.parameters[0])
        inputs, targets = (one.expand(rows, 2, *one.shape[1:]).contiguous() for one in (few.inputs, few.targets))
        count = len(self._step.optimizer.coefficients(np.ones(1), np.ones(1)))
        coefficients = torch.ones((rows, count), device=self._device, dtype=self._dtype)
        try:
            draws = self._draws_of(2, few.inputs)
            noise = [torch.ones((rows, *one.shape), device=self._device, dtype=one.dtype) for one in draws]
            with torch.no_grad(), self._plain_operations():
                self._substituted(state, (inputs, targets), coefficients, noise)
        except Unsupported:
            raise
        except Exception as error:
            raise Unsupported(f"its step cannot be vectorised ({said(error)})") from error

    def _evaluate(self, part: Examples) -> list[tuple[float, float]]:
        task, names = self._step.task, (*self._step.trained, *self._step.kept)
        held = [*self._state.parameters, *self._state.buffers]

        def sums(held: list[Tensor], inputs: Tensor, targets: Tensor) -> Tensor:
            outputs = functional_call(self._viewed, dict(zip(names, held, strict=True)), (inputs,))
            values = task.losses(outputs, targets), task.metric.values(outputs, targets)
            return torch.stack([one.sum(dtype=torch.float64) for one in values])

        def attempt(size: int) -> Tensor:
            pieces = [vmap(sums, (0, None, None))(held, *piece) for piece in part.pieces(size)]
            return torch.stack(pieces).sum(0)

        is_fast = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)  # a fused kernel that cannot be vectorised
        try:
            with torch.no_grad(), self._plain_operations():
                totals, self._chunk = halving(self._chunk, (), attempt)
        finally:
            torch.backends.mha.set_fastpath_enabled(is_fast)
        return [(loss / len(part), metric / len(part)) for loss, metric in totals.tolist()]

    @contextlib.contextmanager
    def _plain_operations(self) -> Iterator[None]:
        """Keep out fused kernels that cannot be vectorised."""
        with warnings.catch_warnings(), differentiable(), contextlib.ExitStack() as stack:
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            if self._is_recurrent:
                warnings.simplefilter("ignore")  # setting the flags speaks of other devices
                stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
                stack.enter_context(torch.backends.cudnn.flags(enabled=False))
            yield

    def _add(self, note: str) -> None:
        self.note = note if note in self.note or not self.note else f"{self.note}; {note}"


def _joined(states: Sequence[State]) -> State:
    """Return states as one, stacked along a new first axis."""
    each = [tree_flatten(state) for state in states]
    return tree_unflatten([torch.stack(same) for same in zip(*(flat for flat, _ in each), strict=True)], each[0][1])


def _until_not_finite(losses: Tensor) -> Tensor:
    """Return the losses up to the first that is not finite, that one included."""
    bad = (~losses.isfinite()).nonzero()
    return losses[: int(bad[0]) + 1 if len(bad) else None].clone()
