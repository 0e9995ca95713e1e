"""The loss surface: a model's mean loss on one fixed set of examples, as a function of one parameter vector."""

import copy
from collections.abc import Callable, Iterator
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

Normalisation = Literal["running", "batch"]
Second = Literal["auto", "exact", "differences"]
PerExample = Callable[[Tensor, Tensor], Tensor]
Product = Callable[[Tensor], Tensor]


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
        chunk: Examples at a time, where the set is large; with "batch" all are taken at once.
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
        self._chunk = len(inputs) if normalisation == "batch" else chunk
        self._shapes = {name: one.shape for name, one in self.model.named_parameters() if one.requires_grad}
        if not len(inputs) or not self._shapes:
            raise ValueError(
                f"`Surface`: {len(inputs)} examples and {len(self._shapes)} trained parameters; both must be above 0."
            )
        trained = [one.detach().flatten() for one in self.model.parameters() if one.requires_grad]
        self.point: Float[Tensor, " parameter"] = torch.cat(trained)
        self.is_exact = second != "differences"

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
        pieces = point.split([shape.numel() for shape in self._shapes.values()])
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
        here = (self.point if point is None else point).detach().requires_grad_()
        value, found = 0.0, torch.zeros_like(here)
        for outputs, targets, share in self.passes(here):
            mean = self.losses(outputs, targets).mean() * share
            (part,) = torch.autograd.grad(mean, here)
            value, found = value + float(mean.detach()), found + part
        return value + self.l2 / 2 * float(here.detach().double().square().sum()), found + self.l2 * here.detach()

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

    def passes(self, point: Tensor) -> Iterator[tuple[Tensor, Tensor, float]]:
        """Yield outputs, which can be differentiated, targets, and the share of the examples of each chunk."""
        for inputs, targets in zip(self.inputs.split(self._chunk), self.targets.split(self._chunk), strict=True):
            outputs = functional_call(self.model, self.named(point), (inputs,))
            yield outputs, targets, len(inputs) / self.count


@final
class Curvature:
    """A symmetric matrix of shape (parameter, parameter), known by its products with vectors.

    Where the set fits into one chunk its forward pass is kept: a product then costs about a backward pass twice.

    Args:
        surface: At its current point.
        kind: "hessian" or "gauss_newton".
    """

    def __init__(self, surface: Surface, kind: Literal["hessian", "gauss_newton"]) -> None:
        self._surface, self._kind = surface, kind
        self._point = surface.point.detach().requires_grad_()
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
        surface, given = self._surface, vector.detach().to(self._point)
        self.products += 1
        if surface.is_exact:
            try:
                found = torch.zeros_like(given)
                for product in self._products():
                    found += product(given)
                return found + surface.l2 * given
            except RuntimeError as error:
                if surface.second == "exact" or self._kind != "hessian" or isinstance(error, torch.OutOfMemoryError):
                    raise
                surface.is_exact = False
        return self._difference(given)

    def _products(self) -> Iterator[Product]:
        """Yield the product of each chunk, weighted by its share of the examples."""
        if self._kept is None:
            make = _hessian_product if self._kind == "hessian" else _gauss_newton_product
            with sdpa_kernel(SDPBackend.MATH):
                found = (
                    make(self._point, outputs, self._surface.losses, targets, share)
                    for outputs, targets, share in self._surface.passes(self._point)
                )
                if self._surface.chunks > 1:
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


def _hessian_product(point: Tensor, outputs: Tensor, losses: PerExample, targets: Tensor, share: float) -> Product:
    """Return v -> share H v: the derivative of g'v, the graph of g kept."""
    (gradient,) = torch.autograd.grad(losses(outputs, targets).mean() * share, point, create_graph=True)
    return lambda vector: _turned(gradient, point, vector)


def _gauss_newton_product(point: Tensor, outputs: Tensor, losses: PerExample, targets: Tensor, share: float) -> Product:
    """Return v -> share J' H_out J v. J v is the derivative of u'J v with respect to u, which is any vector of outputs."""
    leaf = outputs.detach().requires_grad_()
    (of_outputs,) = torch.autograd.grad(losses(leaf, targets).mean() * share, leaf, create_graph=True)
    dummy = torch.zeros_like(outputs, requires_grad=True)
    turned = _turned(outputs, point, dummy, create_graph=True)
    return lambda vector: _turned(outputs, point, _turned(of_outputs, leaf, _turned(turned, dummy, vector)))


def _turned(value: Tensor, of: Tensor, vector: Tensor, *, create_graph: bool = False) -> Tensor:
    """Return the transposed Jacobian of `value` times a vector; 0 where nothing depends on anything."""
    if value.grad_fn is None:
        return torch.zeros_like(of)
    (found,) = torch.autograd.grad(
        value, of, vector, retain_graph=True, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )
    return found
