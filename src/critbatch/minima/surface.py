"""The loss surface: a model's mean loss on one fixed set of examples, as a function of one parameter vector."""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Normalisation = Literal["running", "batch"]
Second = Literal["auto", "exact", "differences"]
PerExample = Callable[[Tensor, Tensor], Tensor]
Parts = Sequence[Tensor]  # one tensor for each parameter
Product = Callable[[Parts], Parts]

PIECE_BYTES = 2**22  # measured: on a CPU, larger tensors cost more to get from the system than to compute with
KEPT_BYTES = 2**32
GRAPH = 4  # memory to differentiate twice, relative to once: 1.3 for a convolutional network, 3.4 for a transformer


@final
class Surface:
    """L(w) = mean loss over a fixed reference set + l2/2 |w|^2, with gradients and curvature products.

    The model is copied; the copy is in evaluation mode whatever mode it was given in, so that dropout is off and the
    batch size of training has no say. w holds the parameters with `requires_grad`, tied ones once, in the order of
    `named_parameters`; frozen ones and buffers stay as they are.

    Curvature products differentiate twice, through attention by the kernel that allows it. Where a model has a layer that
    cannot be differentiated twice, they are central differences of the gradient, which `is_exact` then says.

    Args:
        model: Any module.
        losses: One value per example from outputs and targets.
        inputs: First axis is the example.
        targets: First axis is the example.
        l2: Strength of the penalty l2/2 |w|^2.
        normalisation: BatchNorm by its "running" statistics, or by those of the "batch", which is the whole set.
        chunk: Examples at a time, at most: fewer on a CPU where those make large tensors; with "batch" all at once.
        second: How curvature products are taken: "exact", by "differences", or "auto".

    Raises:
        ValueError: If there are no examples, or no parameter requires a gradient.
    """

    def __init__(  # noqa: PLR0913
        self, model: nn.Module, losses: PerExample, inputs: Tensor, targets: Tensor, *, l2: float = 0.0,
        normalisation: Normalisation = "running", chunk: int = 4096, second: Second = "auto",
    ) -> None:  # fmt: skip
        self.model = copy.deepcopy(model).eval()
        if normalisation == "batch":
            for layer in self.model.modules():
                if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                    layer.train()
                    layer.momentum = 0.0  # running statistics stay as they are
        self.losses, self.inputs, self.targets = losses, inputs, targets
        self.l2, self.normalisation, self.second = l2, normalisation, second
        self._shapes = {name: one.shape for name, one in self.model.named_parameters() if one.requires_grad}
        self._sizes = [shape.numel() for shape in self._shapes.values()]
        if not len(inputs) or not self._shapes:
            raise ValueError(
                f"`Surface`: {len(inputs)} examples and {len(self._shapes)} trained parameters; both must be above 0."
            )
        trained = [one.detach().flatten() for one in self.model.parameters() if one.requires_grad]
        self.point: Float[Tensor, " parameter"] = torch.cat(trained)
        self.is_exact = second != "differences"
        self._chunk, self._example_bytes = len(inputs), 0.0
        if normalisation == "running":
            largest, self._example_bytes = _bytes_of_an_example(self.model, inputs)
            on_cpu = self.point.device.type == "cpu"
            self._chunk = max(1, min(chunk, int(PIECE_BYTES / largest))) if on_cpu and largest else chunk

    @property
    def size(self) -> int:
        """Return the number of parameters in w."""
        return len(self.point)

    @property
    def count(self) -> int:
        """Return the number of examples."""
        return len(self.inputs)

    def at(self, point: Tensor) -> "Surface":
        """Return the same surface with another current point, of shape (parameter,); data and model are shared."""
        other = copy.copy(self)
        other.point = point.detach()
        return other

    def on(self, inputs: Tensor, targets: Tensor) -> "Surface":
        """Return the same model and point on other examples."""
        other = copy.copy(self)
        other.inputs, other.targets = inputs, targets
        if self.normalisation == "batch":
            other._chunk = len(inputs)
        return other

    def named(self, point: Tensor) -> dict[str, Tensor]:
        """Return a vector of shape (parameter,) as tensors by parameter name: views, which can be differentiated."""
        pieces = point.split(self._sizes)
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}

    def outputs(self, point: Tensor | None = None) -> Tensor:
        """Return what the model makes of the inputs, at `point` or at the current one."""
        with torch.no_grad():
            here = self.named(self.point if point is None else point)
            return torch.cat([functional_call(self.model, here, (some,)) for some in self.inputs.split(self._chunk)])

    def example_losses(self, point: Tensor | None = None) -> Float[Tensor, " example"]:
        """Return the loss of each example, without the penalty."""
        with torch.no_grad():
            return self.losses(self.outputs(point), self.targets)

    def loss(self, point: Tensor | None = None) -> float:
        """Return L; infinite values are returned as they are."""
        here = self.point if point is None else point
        return float(self.example_losses(here).double().mean()) + self.l2 / 2 * float(here.double().square().sum())

    def gradient(self, point: Tensor | None = None) -> Float[Tensor, " parameter"]:
        """Return the gradient of L."""
        return self.loss_and_gradient(point)[1]

    def loss_and_gradient(self, point: Tensor | None = None) -> tuple[float, Float[Tensor, " parameter"]]:
        """Return L and its gradient: one forward and one backward pass."""
        here = (self.point if point is None else point).detach()
        leaves = self._leaves(here)
        value, found = self.l2 / 2 * float(here.double().square().sum()), self.l2 * here
        for outputs, targets, share in self._passes(leaves):
            mean = self.losses(outputs, targets).mean() * share
            parts = torch.autograd.grad(mean, list(leaves.values()), allow_unused=True, materialize_grads=True)
            value, found = value + float(mean.detach()), found + _joined(parts)
        return value, found

    def hessian(self) -> "Curvature":
        """Return the Hessian of L at the current point, as a product with vectors."""
        return Curvature(self, "hessian")

    def gauss_newton(self) -> "Curvature":
        """Return the generalised Gauss-Newton matrix of L: the mean of J' H_out J, J the Jacobian of the outputs.

        Source: Schraudolph (2002), Neural Computation 14, 1723-1738.
        """
        return Curvature(self, "gauss_newton")

    @property
    def chunks(self) -> int:
        """Return in how many passes the set is taken."""
        return -(-self.count // self._chunk)

    @property
    def is_kept(self) -> bool:
        """Return whether a graph of the whole set, differentiated twice, fits into KEPT_BYTES by estimate."""
        return GRAPH * self.count * self._example_bytes <= KEPT_BYTES

    def passes(self, point: Tensor) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield outputs, which can be differentiated, targets, and the share of the examples of each chunk."""
        return self._passes(self.named(point))

    def _passes(self, parameters: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor, float]]:
        for inputs, targets in zip(self.inputs.split(self._chunk), self.targets.split(self._chunk), strict=True):
            outputs = functional_call(self.model, dict(parameters), (inputs,))
            yield outputs, targets, len(inputs) / self.count

    def _leaves(self, point: Tensor) -> dict[str, Tensor]:
        """Return a vector as parameters to differentiate by: a tensor each, so that nothing is cut and joined."""
        return {name: one.detach().clone().requires_grad_() for name, one in self.named(point).items()}


@final
class Curvature:
    """A symmetric matrix of shape (parameter, parameter), known by its products with vectors.

    Where memory allows, the forward pass and the gradient's graph are kept: a product then costs one more backward pass
    through both, about twice the arithmetic of a gradient's backward pass.

    Args:
        surface: At its current point.
        kind: "hessian" or "gauss_newton".
    """

    def __init__(self, surface: Surface, kind: Literal["hessian", "gauss_newton"]) -> None:
        self._surface, self._kind = surface, kind
        self._leaves = surface._leaves(surface.point)
        self._kept: list[Product] | None = None
        self.products = 0

    @property
    def size(self) -> int:
        """Return the number of rows."""
        return self._surface.size

    def __matmul__(self, vector: Float[Tensor, " parameter"]) -> Float[Tensor, " parameter"]:
        """Return the product with a vector, in the precision of the parameters.

        Raises:
            RuntimeError: If the loss cannot be differentiated twice, and differences will not do.
        """
        surface, given = self._surface, vector.detach().to(self._surface.point)
        self.products += 1
        if surface.is_exact:
            try:
                parts = list(surface.named(given).values())
                joined = (_joined(product(parts)) for product in self._products())
                found = functools.reduce(Tensor.add_, joined)
                return found.add_(given, alpha=surface.l2) if surface.l2 else found
            except RuntimeError as error:
                if surface.second == "exact" or self._kind != "hessian" or isinstance(error, torch.OutOfMemoryError):
                    raise
                surface.is_exact = False
        return self._difference(given)

    def dense(self) -> Float[Tensor, "parameter parameter"]:
        """Return the whole matrix, made symmetric: a product for each parameter."""
        columns = [self @ one for one in torch.eye(self.size, dtype=self._surface.point.dtype)]
        matrix = torch.stack(columns)
        return (matrix + matrix.T) / 2

    def _products(self) -> Iterator[Product]:
        """Yield the product of each chunk, weighted by its share of the examples."""
        if self._kept is None:
            make = _hessian_product if self._kind == "hessian" else _gauss_newton_product
            with sdpa_kernel(SDPBackend.MATH):
                found = (
                    make(list(self._leaves.values()), outputs, self._surface.losses, targets, share)
                    for outputs, targets, share in self._surface._passes(self._leaves)
                )
                if not self._surface.is_kept:
                    yield from found
                    return
                self._kept = list(found)
        yield from self._kept

    def _difference(self, vector: Tensor) -> Tensor:
        """Return a central difference of gradients.

        Its half width is the root of the precision, relative to the point: wider ones cross kinks of ReLU networks.
        """
        length = float(torch.linalg.vector_norm(vector))
        if length == 0:
            return torch.zeros_like(vector)
        point = self._surface.point
        unit = torch.finfo(point.dtype).eps ** 0.5
        step = unit * max(float(torch.linalg.vector_norm(point)), 1.0) / length
        ahead, behind = (self._surface.gradient(point + sign * step * vector) for sign in (1, -1))
        return (ahead - behind) / (2 * step)


def _hessian_product(leaves: Parts, outputs: Tensor, losses: PerExample, targets: Tensor, share: float) -> Product:
    """Return v -> share H v: the derivative of g'v, the graph of g kept."""
    mean = losses(outputs, targets).mean() * share
    gradient = torch.autograd.grad(mean, leaves, create_graph=True, allow_unused=True, materialize_grads=True)
    _refuse_dead_ends(gradient)
    return lambda parts: _turned(gradient, leaves, parts)


def _gauss_newton_product(leaves: Parts, outputs: Tensor, losses: PerExample, targets: Tensor, share: float) -> Product:
    """Return v -> share J' H_out J v. J v is the derivative of u'J v with respect to u, which is any vector of outputs."""
    leaf = outputs.detach().requires_grad_()
    of_outputs = torch.autograd.grad(losses(leaf, targets).mean() * share, leaf, create_graph=True)
    dummy = torch.zeros_like(outputs, requires_grad=True)
    turned = _turned([outputs], leaves, [dummy], create_graph=True)
    _refuse_dead_ends(turned)

    def product(parts: Parts) -> Parts:
        moved = _turned(turned, [dummy], parts)
        return _turned([outputs], leaves, _turned(of_outputs, [leaf], moved))

    return product


def _turned(values: Parts, of: Parts, vectors: Parts, *, create_graph: bool = False) -> Parts:
    """Return the transposed Jacobian of `values` times vectors; 0 where nothing depends on anything."""
    pairs = [(value, vector) for value, vector in zip(values, vectors, strict=True) if value.requires_grad]
    if not pairs:
        return [torch.zeros_like(one) for one in of]
    return torch.autograd.grad(
        [value for value, _ in pairs], of, [vector for _, vector in pairs],
        retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True,
    )  # fmt: skip


def _refuse_dead_ends(gradient: Parts) -> None:
    """Check that no layer's gradient is a function marked as `once_differentiable`: what passes it is lost, silently.

    Raises:
        RuntimeError: If there is one.
    """
    seen, ahead = set(), [one.grad_fn for one in gradient if one.grad_fn is not None]
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            if node.name() == "torch::autograd::Error":
                raise RuntimeError("a layer of the model is once_differentiable: it has no second derivative.")
            ahead += [one for one, _ in node.next_functions if one is not None]


def _joined(parts: Parts) -> Float[Tensor, " parameter"]:
    return torch.cat([one.reshape(-1) for one in parts])


def _bytes_of_an_example(model: nn.Module, inputs: Tensor) -> tuple[float, float]:
    """Return the bytes of the largest tensor, and of all tensors, that a backward pass keeps for one example."""
    there_anyway = {one.untyped_storage().data_ptr() for one in (inputs, *model.parameters())}
    some, sizes = inputs[:2], [0]

    def note(saved: Tensor) -> Tensor:
        if saved.untyped_storage().data_ptr() not in there_anyway:
            sizes.append(saved.nbytes)
        return saved.new_empty(0)  # instead of it: nothing is differentiated here

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(note, lambda nothing: nothing):
        model(some)
    return max(sizes) / len(some), sum(sizes) / len(some)
