"""Listening to backward passes: when one begins and ends, and the norms of its gradients."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn

from ..ghost import Guard, Norms, Recorder, Weights, leaves_of
from .ranks import local

UNLIKE = 0.05  # relative; ours: a rule that misses a use of a parameter is off by far more, half precision by less


def squared_norm(gradient: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the squared norm of a gradient in float32 or better, each coordinate's square weighted."""
    dense = gradient.coalesce().values() if gradient.is_sparse and weights is None else gradient
    values = local(dense.to_dense() if dense.is_sparse else dense).detach()
    if weights is None:
        kind = torch.float32 if values.dtype.itemsize < 4 else values.dtype
        return torch.linalg.vector_norm(values, dtype=kind).square()
    return (values.to(weights.dtype).square() * weights).sum()


def squared_norms(gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the squared norms of several gradients, in one call where they are plain tensors of one kind."""
    some = list(gradients.values())
    if all(type(one) is Tensor and one.dtype == torch.float32 and not one.is_sparse for one in some):
        return dict(zip(gradients, torch._foreach_mul(n := torch._foreach_norm(some), n), strict=True)) if some else {}
    return {name: squared_norm(one) for name, one in gradients.items()}


@final
class Passes:
    """Hooks on a model and its parameters, in place only while a step is to be heard.

    The end of a backward pass is a callback of the autograd engine, queued twice so that it runs after those of DDP and
    FSDP, which reduce gradients in theirs. Hooks return nothing: no gradient is changed.

    Args:
        model: As it is called in training.
        named: Parameters to listen to.
        ended: Called at the end of each backward pass with what it gave.
        guard: Wraps every hook, for errors that must not reach the training.
    """

    def __init__(
        self, model: nn.Module, named: Mapping[str, nn.Parameter], ended: Callable[["Heard"], None], guard: Guard
    ) -> None:  # fmt: skip
        self._model, self._named, self._ended = model, dict(named), ended
        self._recorder = Recorder(model, {id(one): name for name, one in named.items()}, guard)
        self._guard = guard
        self._generator = torch.Generator().manual_seed(0)  # of the examples whose norms are taken
        self._handles: list[Any] = []
        self._heard: Heard | None = None
        self._examples: int | None = None
        self._is_deaf = False

    def listen(
        self, *, norms: bool, each: bool, weights: Weights | None, check: bool, most: int | None, shown: bool
    ) -> None:
        """Start to listen.

        Args:
            norms: Take the norm of each parameter's gradient in each backward pass.
            each: Take the norms of single examples' gradients.
            weights: Weights of the squares of a parameter's coordinates, for a second kind of norm.
            check: Compare the sums of single examples' gradients with the gradients.
            most: Of larger batches take the norms of so many examples, drawn at random; None for all.
            shown: The model's outputs show when backward begins; else it may lie within what counts as forward.
        """
        self._norms, self._each, self._weights, self._check, self._is_watching = norms, each, weights, check, False
        if each:
            self._recorder.arm(weights=weights, with_totals=check, most=most, generator=self._generator)
        self._handles.append(self._model.register_forward_pre_hook(self._guard(self._forward), with_kwargs=True))
        self._handles.append(self._model.register_forward_hook(self._guard(self._output)))
        if check or not shown:
            self._watch_parameters()

    def _watch_parameters(self) -> None:
        self._is_watching = True
        for name, parameter in self._named.items():
            hook = self._guard(partial(self._gradient, name))
            self._handles.append(parameter.register_hook(hook))

    def stop(self) -> None:
        """Take all hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._recorder.disarm()
        self._heard = None

    def deafen(self, is_deaf: bool) -> None:
        """Do not listen for a while, to what the monitor itself computes."""
        self._is_deaf = is_deaf
        self._recorder.is_deaf = is_deaf

    def _forward(self, model: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if torch.is_grad_enabled() and not self._is_deaf and torch._C._current_graph_task_id() == -1:
            first = next(
                (one for one in leaves_of((positional, keywords)) if isinstance(one, Tensor) and one.ndim), None
            )
            self._examples = None if first is None else len(first)

    def _output(self, model: nn.Module, positional: tuple[Any, ...], outputs: Any) -> None:
        if self._is_deaf:
            return
        found = [one for one in leaves_of(outputs) if isinstance(one, Tensor) and one.requires_grad]
        for one in found:
            one.register_hook(self._guard(self._begin))
        if not (found or self._is_watching):  # wrapped in something unknown
            self._watch_parameters()

    def _begin(self, gradient: Tensor) -> None:
        if self._heard is None and not self._is_deaf:
            is_fresh = all(one.grad is None for one in self._named.values())
            self._heard = Heard(is_fresh, self._examples, None if is_fresh else self._left_over())
            torch.autograd.Variable._execution_engine.queue_callback(self._guard(self._last_but_one))

    @torch.no_grad()
    def _left_over(self) -> Tensor:
        """Return the squared norm of the smallest gradient that is there already: of the fewest numbers."""
        present = [one.grad for one in self._named.values() if one.grad is not None]
        smallest = min(present, key=lambda one: one.numel())
        return squared_norm(smallest)

    @torch.no_grad()
    def _gradient(self, name: str, gradient: Tensor) -> None:
        self._begin(gradient)
        heard = self._heard
        if heard is None:
            return
        if self._norms:
            heard.squares[name] = squared_norm(gradient)
            weights = self._weights(name) if self._weights else None
            if weights is not None:
                heard.weighted[name] = squared_norm(gradient, weights)
        if self._each:
            self._recorder.settle(name)
            total = self._recorder.total(name)
            if total is not None:
                heard.compare(name, total, gradient)

    def _last_but_one(self) -> None:
        torch.autograd.Variable._execution_engine.queue_callback(self._guard(self._end))

    @torch.no_grad()
    def _end(self) -> None:
        heard, self._heard = self._heard, None
        if heard is None:
            return
        if self._each:
            heard.norms = self._recorder.take()
            if self._check:
                for name, total in heard.norms.totals.items():
                    gradient = self._named[name].grad
                    if name not in heard.unlike and gradient is not None and heard.is_fresh:
                        heard.compare(name, total, gradient)
        self._ended(heard)


@final
class Heard:
    """What one backward pass gave.

    Args:
        is_fresh: No parameter had a gradient before it.
        examples: In the forward pass, None if unknown.
        left_over: Squared norm of a gradient that was there before.
    """

    def __init__(self, is_fresh: bool, examples: int | None, left_over: Tensor | None) -> None:
        self.is_fresh, self.examples, self.left_over = is_fresh, examples, left_over
        self.squares: dict[str, Tensor] = {}
        self.weighted: dict[str, Tensor] = {}
        self.norms: Norms | None = None
        self.unlike: dict[str, Tensor] = {}

    def compare(self, name: str, total: Tensor, gradient: Tensor) -> None:
        """Keep how far the sum of single examples' gradients is from the gradient, relative to it."""
        dense = local(gradient.to_dense() if gradient.is_sparse else gradient).detach()
        if dense.shape == total.shape:
            apart = torch.linalg.vector_norm(dense.to(total.dtype) - total)
            self.unlike[name] = apart / torch.linalg.vector_norm(total).clamp_min(torch.finfo(total.dtype).tiny)
