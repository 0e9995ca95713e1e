"""A training step or an evaluation of the user's own module as a graph of plain operations."""

import contextlib
import copy
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor, fx
from torch._decomp import core_aten_decompositions, get_decompositions
from torch.func import functional_call, functionalize, grad, vjp
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_unflatten

from ..step import State, Step, differentiable
from .values import Unsupported

aten = torch.ops.aten
TAKEN_APART = (
    aten.native_batch_norm, aten._native_batch_norm_legit, aten._native_batch_norm_legit_no_training,
    aten._native_batch_norm_legit_functional, aten.native_layer_norm, aten.native_group_norm, aten._log_softmax,
    aten._softmax, aten.gelu, aten._to_copy, aten.addcmul, aten.addcdiv, aten.lerp, aten.elu, aten.leaky_relu,
    aten.hardtanh, aten.silu, aten.softplus, aten.log_sigmoid_forward, aten.norm, aten.linalg_vector_norm,
    aten.unbind, aten.stack, aten.split,
)  # fmt: skip


@final
@dataclass(frozen=True, eq=False)
class Traced:
    """A graph and the tensors that tell the shapes and types of its inputs: state, batch, then scalar coefficients.

    `draws` holds shape and strides of the model's own random draws, in order: torch fills memory in the order of the
    strides, which a trace does not keep.
    """

    graph: fx.GraphModule
    state: tuple[Tensor, ...]
    batch: tuple[Tensor, Tensor]
    coefficients: int
    dtype: torch.dtype
    draws: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()


@final
class _Watch(TorchDispatchMode):
    """Notes every random draw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in func.tags and isinstance(found, Tensor):
            self.seen.append((tuple(found.shape), tuple(found.stride())))
        return found


def trace_step(step: Step, state: State, batch: tuple[Tensor, Tensor], coefficients: int) -> Traced:
    """Return one training step: (state, inputs, targets, coefficients) to (loss, state).

    Raises:
        Unsupported: If the model decides by the data or does something else that cannot be traced.
    """
    dtype = state.parameters[0].dtype
    scalars = [torch.zeros((), dtype=dtype) for _ in range(coefficients)]
    flat, layout = tree_flatten((state, *batch, scalars))

    def run(*given: Tensor) -> list[Tensor]:
        loss, moved = step(*tree_unflatten(list(given), layout))
        return [loss, *tree_flatten(moved)[0]]

    graph = _traced(run, flat)
    watch = _Watch()
    with torch.random.fork_rng(devices=[]), torch.no_grad(), watch:
        copy.deepcopy(step.model)(batch[0])
    return Traced(graph, tuple(tree_flatten(state)[0]), batch, coefficients, dtype, tuple(watch.seen))


def trace_look(step: Step, state: State, batch: tuple[Tensor, Tensor]) -> Traced:
    """Return an evaluation: (parameters and buffers, inputs, targets) to (loss, metric) for each example.

    Raises:
        Unsupported: If the model decides by the data or does something else that cannot be traced.
    """
    names, count = (*step.trained, *step.kept), len(step.trained)
    held = [*state.parameters, *state.buffers]

    def run(*given: Tensor) -> list[Tensor]:
        def outputs_of(*parameters: Tensor) -> Tensor:
            places = {name: one.clone() for name, one in zip(names, (*parameters, *given[count:-2]), strict=True)}
            return functional_call(step.model, places, (given[-2],))

        outputs = vjp(outputs_of, *given[:count])[0]  # as if it were differentiated: nothing works in place then
        return [step.task.losses(outputs, given[-1]), step.task.metric.values(outputs, given[-1])]

    was_training = step.model.training
    step.model.eval()
    try:
        return Traced(_traced(run, [*held, *batch]), tuple(held), batch, 0, held[0].dtype)
    finally:
        step.model.train(was_training)


def trace_gradient(step: Step, state: State, example: tuple[Tensor, Tensor]) -> Traced:
    """Return the gradient of one example's loss in train mode: (parameters and buffers, input, target) to gradients.

    Raises:
        Unsupported: If the model decides by the data or does something else that cannot be traced.
    """
    count = len(step.trained)
    held = [*state.parameters, *state.buffers]

    def run(*given: Tensor) -> list[Tensor]:
        kept = dict(zip(step.kept, (one.clone() for one in given[count:-2]), strict=True))

        def loss(parameters: list[Tensor]) -> Tensor:
            places = dict(zip(step.trained, parameters, strict=True)) | kept
            return step.task.losses(functional_call(step.model, places, (given[-2],)), given[-1]).sum()

        return grad(loss)(list(given[:count]))

    return Traced(_traced(run, [*held, *example]), tuple(held), example, 0, held[0].dtype)


@contextlib.contextmanager
def _plain_operations() -> Iterator[None]:
    """Keep fused kernels, which have no C form, out of the trace."""
    with warnings.catch_warnings(), differentiable():
        warnings.simplefilter("ignore")  # setting the flags speaks of other devices
        with torch.backends.mkldnn.flags(enabled=False):
            yield


def _traced(run: Callable[..., Any], given: list[Tensor]) -> fx.GraphModule:
    table: Any = dict(core_aten_decompositions().items()) | get_decompositions(TAKEN_APART)
    try:
        with _plain_operations(), torch.random.fork_rng(devices=[]):
            traced = make_fx(
                functionalize(run, remove="mutations"), decomposition_table=table, tracing_mode="fake"
            )(*given)  # fmt: skip
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise Unsupported(f"its step cannot be traced ({type(error).__name__}: {first[:200]})") from error
    traced.graph.eliminate_dead_code()
    return traced
