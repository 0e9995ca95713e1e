"""The recorder: squared norms of single examples' gradients while an ordinary backward pass goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from . import embedding, linear, rules, stateless
from .anything import Call, is_repeatable
from .anything import squared_norms as any_norms
from .broadcast import watch
from .use import Use, leaves_of, squares

WHOLE = (nn.MultiheadAttention, nn.RNNBase)  # layers whose inner ones are never called
Weights = Callable[[str], Tensor | None]
Hook = Callable[..., None]
Guard = Callable[[Hook], Hook]


@final
@dataclass
class Norms:
    """What one backward pass gave: squared norms by parameter, each of shape (example,).

    They are of the examples' shares of the gradient: as they add up to it, loss averaged over the batch or not.
    `chosen` are the examples whose norms were taken, None for all; where those of all cost nothing, all are there.
    """

    plain: dict[str, Tensor] = field(default_factory=dict)
    weighted: dict[str, Tensor] = field(default_factory=dict)
    totals: dict[str, Tensor] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)
    chosen: Tensor | None = None


@dataclass
class _Raw:
    """Gradients of a broadcast parameter, example first, and whether they have its shape."""

    gradients: list[Tensor] = field(default_factory=list)
    is_same: bool = True


@final
class Recorder:
    """Listens to a model's layers during forward and backward; computes norms as soon as a parameter's gradient is there.

    Nothing that training uses is changed: hooks read inputs and output gradients and return nothing. Linear,
    convolutional, embedding and normalising layers have rules that never hold the gradients of the whole batch; a
    parameter broadcast over the batch is read where it is; any other layer is differentiated by itself.

    Args:
        model: Its layers' inputs start with the example.
        names: Name of each parameter to measure, by its identity.
        guard: Wraps every hook, for errors that must not reach the training.
    """

    def __init__(self, model: nn.Module, names: Mapping[int, str], guard: Guard | None = None) -> None:
        self._model, self._guard = model, guard or _bare
        self._owned = _owned(model, names)
        self._hooks = {layer: self._guard(partial(self._called, owned=owned)) for layer, owned in self._owned.items()}
        self._handles: list[Any] = []
        self._count = 0
        self.is_deaf = False  # while it calls layers itself
        self._clear()

    def _clear(self) -> None:
        self._uses: dict[str, list[tuple[Use, str]]] = {}
        self._awaited: dict[str, int] = {}  # uses in forward that have not come back, by parameter
        self._calls: list[tuple[Call, dict[str, str]]] = []
        self._ruled: set[str] = set()  # parameters of layers that were called, and have a rule
        self._raw: dict[str, _Raw] = {}
        self._lookups: dict[Any, tuple[nn.Module, Tensor]] = {}
        self._norms = Norms()
        self._unknown: dict[str, str] = {}
        self._watching: list[Any] = []

    def arm(
        self, *, weights: Weights | None = None, with_totals: bool = False, most: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:  # fmt: skip
        """Start to listen.

        Args:
            weights: Weights of the squares of a parameter's coordinates, by its name, for a second kind of norm.
            with_totals: Also sum the gradients of all examples up, to be compared with those of backward.
            most: Of larger batches take the norms of so many examples, drawn anew for each; None for all.
            generator: Draws them; on the CPU.
        """
        self._clear()
        self._weights, self._with_totals = weights, with_totals
        self._most, self._generator = None if with_totals else most, generator
        self._handles.append(self._model.register_forward_pre_hook(self._guard(self._begin), with_kwargs=True))
        self._handles.append(self._model.register_forward_hook(self._guard(self._end)))
        for layer, hook in self._hooks.items():
            self._handles.append(layer.register_forward_hook(hook, with_kwargs=True))

    def disarm(self) -> None:
        """Stop to listen, and forget what was heard."""
        for handle in (*self._handles, *self._watching):
            handle.remove()
        self._handles = []
        self._clear()

    def take(self) -> Norms:
        """Return what the backward pass that just ended gave, and listen to the next."""
        for name in list(self._uses):
            self.settle(name)
        for call, own in self._calls:
            self._settle_call(call, own)
        for name, raw in self._raw.items():
            self._settle_raw(name, raw)
        found = self._norms
        found.unknown = {name: why for name, why in self._unknown.items() if name not in found.plain}
        for handle in self._watching:
            handle.remove()
        self._clear()
        return found

    def settle(self, name: str) -> None:
        """Compute a parameter's norms now: its gradient is complete, so that all its uses have been heard."""
        uses = self._uses.pop(name, None)
        if not uses or name in self._raw:
            return
        self._norms.plain[name] = rules.squared_norms(uses, None)
        weights = self._weights(name) if self._weights else None
        if weights is not None:
            self._norms.weighted[name] = rules.squared_norms(uses, weights)
        if self._with_totals:
            self._norms.totals[name] = rules.total(uses)

    def total(self, name: str) -> Tensor | None:
        """Return the sum of the examples' gradients of a settled parameter, None if it was not asked for."""
        return self._norms.totals.get(name) if self._with_totals else None

    def _settle_call(self, call: Call, own: dict[str, str]) -> None:
        left = {inner: name for inner, name in own.items() if name not in self._norms.plain and name not in self._raw}
        if not left or not any(delta is not None for delta in call.deltas):
            return
        weights = {inner: self._weights(name) for inner, name in left.items()} if self._weights else None
        both: list[dict[str, Tensor | None] | None] = [None]
        if weights is not None and None not in weights.values():
            both.append(weights)
        self.is_deaf = True
        try:
            norms, totals = any_norms(call, list(left), both)
        finally:
            self.is_deaf = False
        for inner, name in left.items():
            self._norms.plain[name] = norms[0][inner]
            if len(norms) > 1:
                self._norms.weighted[name] = norms[1][inner]
            self._norms.totals[name] = totals[inner]

    def _settle_raw(self, name: str, raw: _Raw) -> None:
        gradients = raw.gradients[0] if len(raw.gradients) == 1 else torch.stack(raw.gradients).sum(0)
        self._norms.plain[name] = squares(gradients, None)
        if not raw.is_same:
            return
        weights = self._weights(name) if self._weights else None
        if weights is not None:
            self._norms.weighted[name] = squares(gradients, weights)
        if self._with_totals:
            self._norms.totals[name] = gradients.sum(0)

    def _begin(self, model: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        if self._is_listening():
            first = next((one for one in leaves_of((positional, keywords)) if isinstance(one, Tensor)), None)
            self._count = len(first) if first is not None and first.ndim else 0
            self._clear()

    def _end(self, model: nn.Module, positional: tuple[Any, ...], outputs: Any) -> None:
        if not self._is_listening() or self._count == 0:
            return
        wanted: dict[Any, Any] = {node: (layer, indices) for node, (layer, indices) in self._lookups.items()}
        known = self._ruled | {name for _, own in self._calls for name in own.values()}
        for layer, owned in self._owned.items():
            for inner, name in owned.items():
                is_outside = stateless.is_stateless(layer)
                parameter: Any = stateless.parameters(layer)[inner] if is_outside else layer.get_parameter(inner)
                if parameter.requires_grad and (name not in known or any(layer.children())):
                    wanted[torch.autograd.graph.get_gradient_edge(parameter).node] = name
        if not wanted:
            return
        tensors = [one for one in leaves_of(outputs) if isinstance(one, Tensor)]
        self._watching = watch(tensors, wanted, self._guard(self._broadcast))

    def _broadcast(self, part: Any, gradients: Tensor, is_same: bool) -> None:
        if len(gradients) != self._count:
            return
        gradients = self._some(gradients)
        if isinstance(part, str):
            raw = self._raw.setdefault(part, _Raw())
            raw.gradients.append(gradients)
            raw.is_same &= is_same
            return
        layer, indices = part
        if is_same:
            spread = indices.expand(len(gradients), *indices.shape)
            self._add(Use(layer, spread.flatten(1), gradients.reshape(len(gradients), indices.numel(), -1)))

    def _add(self, use: Use) -> None:
        for inner, name in self._owned[use.layer].items():
            self._uses.setdefault(name, []).append((use, inner))
            self._awaited[name] = self._awaited.get(name, 0) - 1
            if self._awaited[name] == 0:  # at once, so that neither inputs nor their gradients are held
                self.settle(name)

    def _some(self, values: Tensor, axis: int = 0) -> Tensor:
        """Return the values of the examples whose norms are taken."""
        if self._most is None or self._count <= self._most:
            return values
        if self._norms.chosen is None:
            some = torch.randperm(self._count, generator=self._generator)[: self._most]
            self._norms.chosen = some.to(values.device)
        return values.index_select(axis, self._norms.chosen)

    def _called(
        self, layer: nn.Module, positional: tuple[Any, ...], keywords: dict[str, Any], output: Any, *, owned: dict[str, str]
    ) -> None:  # fmt: skip
        if not self._is_listening() or self._count == 0:
            return
        rule = rules.rule_of(layer)
        given = positional[0] if positional else next(iter(keywords.values()), None)
        if rule is None or not isinstance(output, Tensor) or not isinstance(given, Tensor):
            self._call(layer, positional, keywords, output, owned)
        elif output.requires_grad:
            count, parts = self._count, len(output)
            if parts % count == 0 and given.ndim and len(given) == parts:
                self._ruled.update(owned.values())
                for name in owned.values():
                    self._awaited[name] = self._awaited.get(name, 0) + 1
                output.register_hook(self._guard(partial(self._arrived, layer, given.detach(), parts // count)))
            elif rule is embedding:
                self._lookups[output.grad_fn] = (layer, given)
            else:
                self._refuse(owned, f"its input of {tuple(given.shape)} does not start with the {count} examples")

    def _arrived(self, layer: nn.Module, inputs: Tensor, share: int, delta: Tensor) -> None:
        delta = delta.detach()
        if share > 1:  # rows of an example after one another
            inputs = inputs.reshape(self._count, share, *inputs.shape[1:])
            delta = delta.reshape(self._count, share, *delta.shape[1:])
            if rules.rule_of(layer) not in rules.ROW_WISE:
                self._refuse(self._owned[layer], f"it sees {share} rows for each example")
                return
        if delta.ndim > 2 or self._weights or rules.rule_of(layer) is not linear:
            inputs, delta = self._some(inputs), self._some(delta)
        self._add(Use(layer, inputs, delta))

    def _call(self, layer: nn.Module, positional: Any, keywords: Any, output: Any, owned: dict[str, str]) -> None:
        if not is_repeatable(layer):
            why = "it draws dropout masks or uses batch statistics, so that it cannot be called again for one example"
            self._refuse(owned, why)
            return
        leaves = tree.tree_leaves((positional, keywords))
        outputs = tree.tree_leaves(output)
        axes = [_example_axis(leaf, self._count, layer) for leaf in leaves]
        deltas: list[Tensor | None] = [None] * len(outputs)
        delta_axes = [_example_axis(leaf, self._count, layer) for leaf in outputs]
        if all(axis is None for axis in axes):
            self._refuse(owned, f"none of its inputs has an axis for the {self._count} examples")
            return
        for place, (leaf, axis) in enumerate(zip(outputs, delta_axes, strict=True)):
            if isinstance(leaf, Tensor) and leaf.requires_grad and axis is not None:
                leaf.register_hook(self._guard(partial(self._keep, deltas, place, axis)))
        some = [
            self._some(leaf.detach(), axis) if axis is not None else leaf
            for leaf, axis in zip(leaves, axes, strict=True)
        ]
        kept: Any = tree.tree_unflatten(some, tree.tree_structure((positional, keywords)))
        count = self._count if self._norms.chosen is None else len(self._norms.chosen)
        self._calls.append((Call(layer, kept, deltas, axes, delta_axes, count), owned))

    def _keep(self, deltas: list[Tensor | None], place: int, axis: int, delta: Tensor) -> None:
        deltas[place] = self._some(delta.detach(), axis)

    def _is_listening(self) -> bool:
        """Return whether this is a forward pass to be differentiated, and not a repetition inside backward (checkpoints)."""
        return torch.is_grad_enabled() and not self.is_deaf and torch._C._current_graph_task_id() == -1

    def _refuse(self, owned: dict[str, str], why: str) -> None:
        for name in owned.values():
            self._unknown[name] = why


def _bare(hook: Hook) -> Hook:
    return hook


def _example_axis(leaf: Any, count: int, layer: nn.Module) -> int | None:
    if not isinstance(leaf, Tensor):
        return None
    first = 1 if getattr(layer, "batch_first", True) is False else 0
    return first if leaf.ndim > first and leaf.shape[first] == count else None


def _owned(model: nn.Module, names: Mapping[int, str]) -> dict[nn.Module, dict[str, str]]:
    """Return the measured parameters of each layer, by the name that they have in it."""
    found: dict[nn.Module, dict[str, str]] = {}
    inner: set[nn.Module] = set()
    for layer in stateless.modules(model):
        if layer in inner:
            continue
        if stateless.is_stateless(layer):
            inner.update(stateless.inner(layer))
            if mine := stateless.owned(layer, names):
                found[layer] = mine
            continue
        is_whole = isinstance(layer, WHOLE)
        own = layer.named_parameters(recurse=is_whole, remove_duplicate=False)
        mine = {name: names[id(parameter)] for name, parameter in own if id(parameter) in names}
        if is_whole:
            inner.update(layer.modules())
        if mine:
            found[layer] = mine
    return found
