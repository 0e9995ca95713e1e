"""The loss surface and its curvature: torch's dense Hessian, a Jacobian twin of Gauss-Newton, what cannot be differentiated."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from critbatch.minima import surface as surface_module
from critbatch.minima.surface import Surface
from critbatch.objective import binary_cross_entropy, cross_entropy, squared_error
from tests.minima.matrices import dense_hessian, draws
from tests.problems import Branched, Frozen, Last, blobs, norm_mlp, small_mlp

COUNT = 12


class Attention(nn.Module):
    """Token embedding tied to the read-out, fused causal attention, layer norm, a perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 4)
        self.norm, self.mixed = nn.LayerNorm(4), nn.Linear(4, 12)
        self.perceptron = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 4))
        self.read = nn.Linear(4, 5, bias=False)
        self.read.weight = self.embed.weight

    def forward(self, tokens):
        states = self.embed(tokens)
        query, key, value = self.mixed(self.norm(states)).reshape(*tokens.shape, 2, 6).transpose(1, 2).chunk(3, -1)
        seen = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        states = states + seen.transpose(1, 2).flatten(2)
        return self.read(states + self.perceptron(states))


def norm_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(3, 2, 2), nn.SiLU(),
        nn.Flatten(), nn.Linear(2, 3),
    )  # fmt: skip


def pixels():
    return torch.randn(COUNT, 1, 4, 4, generator=draws()), torch.randint(3, (COUNT,), generator=draws(1))


def series():
    return torch.randn(COUNT, 3, 3, generator=draws()), torch.randint(3, (COUNT,), generator=draws(1))


def tokens():
    drawn = torch.randint(5, (COUNT, 5), generator=draws())
    return drawn[:, :-1], drawn[:, 1:]


def classes():
    return blobs(COUNT, 0)


CASES = {
    "mlp": (small_mlp, classes, {}),
    "mlp with l2": (small_mlp, classes, {"l2": 0.3}),
    "batch norm, running": (norm_cnn, pixels, {}),
    "batch norm, batch": (norm_cnn, pixels, {"normalisation": "batch"}),
    "attention, tied weights": (Attention, tokens, {}),
    "lstm": (lambda: Last(nn.LSTM(3, 3, batch_first=True), 3), series, {}),
    "gru": (lambda: Last(nn.GRU(3, 3, batch_first=True), 3), series, {}),
    "frozen": (Frozen, classes, {"l2": 0.1}),
    "unused and reused": (Branched, classes, {}),
}


def case(name: str, dtype: torch.dtype = torch.float64):
    make, data, options = CASES[name]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        model = make().to(dtype)
        with torch.no_grad():
            for buffer in model.buffers():  # statistics that are not 0 and 1
                if buffer.is_floating_point():
                    buffer.add_(0.3 * torch.rand(buffer.shape, dtype=dtype))
    inputs, targets = data()
    inputs = inputs.to(dtype) if inputs.is_floating_point() else inputs
    return model, inputs, targets, options


def in_mode(model: nn.Module, options: dict) -> nn.Module:
    """Return a copy in evaluation mode, but for BatchNorm where it is to use the batch."""
    model = copy.deepcopy(model).eval()
    for layer in model.modules():
        if options.get("normalisation") == "batch" and isinstance(layer, nn.BatchNorm2d):
            layer.train()
    return model


def error(found: torch.Tensor, truth: torch.Tensor) -> float:
    return float((found - truth).norm() / truth.norm())


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-10), (torch.float32, 1e-6)])
@pytest.mark.parametrize("name", CASES)
def test_a_product_is_that_of_the_dense_hessian(name, dtype, within):
    model, inputs, targets, options = case(name, dtype)
    doubled = inputs.double() if inputs.is_floating_point() else inputs
    truth = dense_hessian(in_mode(model, options).double(), cross_entropy, doubled, targets, options.get("l2", 0.0))
    before = copy.deepcopy(model.state_dict())
    surface = Surface(model, cross_entropy, inputs, targets, second="exact", **options)
    hessian = surface.hessian()
    for seed in range(3):
        vector = torch.randn(surface.size, generator=draws(seed), dtype=torch.float64)
        found = hessian @ vector
        assert found.dtype == dtype
        assert error(found.double(), truth @ vector) < within
    assert surface.is_exact
    assert hessian.products == 3
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


def test_the_dense_matrix_is_made_of_products_and_symmetric():
    model, inputs, targets, _ = case("mlp")
    truth = dense_hessian(model.eval(), cross_entropy, inputs, targets)
    found = Surface(model, cross_entropy, inputs, targets).hessian().dense()
    assert error(found, truth) < 1e-12
    assert torch.equal(found, found.T)


@pytest.mark.parametrize("losses", [cross_entropy, squared_error, binary_cross_entropy])
def test_gauss_newton_is_the_jacobian_twin(losses):
    model, inputs, _, _ = case("batch norm, running")
    labels = torch.randint(3, (COUNT,), generator=draws(1))
    targets = labels if losses is cross_entropy else torch.rand(COUNT, 3, generator=draws(2), dtype=torch.float64)
    still = in_mode(model, {})
    trained = list(still.parameters())
    outputs = still(inputs)
    truth = torch.zeros(sum(one.numel() for one in trained), sum(one.numel() for one in trained), dtype=torch.float64)
    for row in range(COUNT):
        jacobian = torch.stack([
            torch.cat([part.flatten() for part in torch.autograd.grad(outputs[row, one], trained, retain_graph=True)])
            for one in range(3)
        ])  # fmt: skip
        middle = torch.autograd.functional.hessian(
            lambda given, row=row: losses(given[None], targets[row][None])[0], outputs[row].detach()
        )
        truth += jacobian.T @ middle @ jacobian / COUNT
    surface = Surface(model, losses, inputs, targets, l2=0.2)
    found = surface.gauss_newton().dense()
    assert error(found, truth + 0.2 * torch.eye(surface.size, dtype=torch.float64)) < 1e-10
    assert float(torch.linalg.eigvalsh(found)[0]) > 0.2 - 1e-12


@pytest.mark.parametrize("kind", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("kept", [True, False])
def test_chunks_are_the_whole(kind, kept, monkeypatch):
    model, inputs, targets, _ = case("attention, tied weights")
    vector = torch.randn(Surface(model, cross_entropy, inputs, targets).size, generator=draws(), dtype=torch.float64)
    whole, pieces = (Surface(model, cross_entropy, inputs, targets, l2=0.1, chunk=size) for size in (100, 5))
    if not kept:
        monkeypatch.setattr(surface_module, "KEPT_BYTES", 0)
    assert (whole.chunks, pieces.chunks, pieces.is_kept) == (1, 3, kept)
    one, other = getattr(whole, kind)(), getattr(pieces, kind)()
    for scale in (1.0, 3.0):
        assert error(other @ (scale * vector), one @ (scale * vector)) < 1e-13
    assert pieces.loss() == pytest.approx(whole.loss(), rel=1e-14)
    assert error(pieces.gradient(), whole.gradient()) < 1e-13
    assert torch.allclose(pieces.example_losses(), whole.example_losses(), rtol=1e-13)


def test_examples_that_fill_much_memory_are_taken_in_pieces(monkeypatch):
    monkeypatch.setattr(surface_module, "PIECE_BYTES", 4 * 8 * 8)
    model, inputs, targets, _ = case("mlp")  # its hidden layer has 8 numbers of 8 bytes
    assert Surface(model, cross_entropy, inputs, targets).chunks == 3


def test_loss_and_gradient_are_those_of_a_plain_backward_pass():
    model, inputs, targets, options = case("frozen")
    surface = Surface(model, cross_entropy, inputs, targets, **options)
    plain = in_mode(model, options)
    trained = [one for one in plain.parameters() if one.requires_grad]
    loss = cross_entropy(plain(inputs), targets).mean() + 0.05 * sum(one.square().sum() for one in trained)
    loss.backward()
    value, gradient = surface.loss_and_gradient()
    assert value == pytest.approx(loss.item(), rel=1e-14)
    assert surface.loss() == pytest.approx(loss.item(), rel=1e-14)
    assert error(gradient, torch.cat([one.grad.flatten() for one in trained])) < 1e-14
    moved = surface.point + 1
    assert surface.at(moved).loss() == pytest.approx(surface.loss(moved), rel=1e-14)
    fewer = surface.on(inputs[:5], targets[:5])
    assert fewer.count == 5
    assert fewer.loss() == pytest.approx(float(surface.example_losses()[:5].mean()) + surface.loss() - float(
        surface.example_losses().mean()), rel=1e-12)  # fmt: skip


# Each half width h = 1e-8 (float64) relative to the point leaves rounding of about 1e-16/h = 1e-8 and no visible h^2.
@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-6), (torch.float32, 5e-3)])
def test_differences_are_near_the_exact_products_of_a_smooth_network(dtype, within):
    model, inputs, targets, _ = case("mlp with l2", dtype)
    exact, near = (
        Surface(model, cross_entropy, inputs, targets, l2=0.3, second=how) for how in ("exact", "differences")
    )
    vector = torch.randn(exact.size, generator=draws())
    assert error(near.hessian() @ vector, exact.hessian() @ vector) < within
    assert not near.is_exact
    assert not bool((near.hessian() @ torch.zeros(exact.size)).any())


class Cubed(torch.autograd.Function):
    """x^3, whose gradient is not itself differentiable."""

    @staticmethod
    def forward(context, inputs):
        context.save_for_backward(inputs)
        return inputs**3

    @staticmethod
    @once_differentiable
    def backward(context, given):
        (inputs,) = context.saved_tensors
        return given * 3 * inputs**2


class Once(nn.Module):
    def __init__(self, cube) -> None:
        super().__init__()
        self.first, self.second, self.cube = nn.Linear(4, 5), nn.Linear(5, 3), cube

    def forward(self, inputs):
        return self.second(self.cube(self.first(inputs)))


def test_a_layer_that_cannot_be_differentiated_twice_takes_differences_and_says_so():
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = Once(Cubed.apply).double()
    inputs, targets = blobs(COUNT, 0, torch.float64)
    surface = Surface(model, cross_entropy, inputs, targets)
    assert surface.is_exact
    vector = torch.randn(surface.size, generator=draws(), dtype=torch.float64)
    found = surface.hessian() @ vector
    assert not surface.is_exact
    model.cube = lambda values: values**3
    assert error(found, Surface(model, cross_entropy, inputs, targets).hessian() @ vector) < 1e-5
    model.cube = Cubed.apply
    strict = Surface(model, cross_entropy, inputs, targets, second="exact")
    with pytest.raises(RuntimeError, match="once_differentiable"):
        _ = strict.hessian() @ vector
    with pytest.raises(RuntimeError, match="once_differentiable"):
        _ = Surface(model, cross_entropy, inputs, targets).gauss_newton() @ vector


def test_a_model_that_is_linear_in_its_parameters_has_no_curvature_where_the_loss_has_none():
    model = nn.Linear(4, 1).double()
    inputs = torch.randn(COUNT, 4, generator=draws(), dtype=torch.float64)
    surface = Surface(model, lambda outputs, targets: outputs[:, 0], inputs, torch.zeros(COUNT), l2=0.5)
    vector = torch.randn(5, generator=draws(), dtype=torch.float64)
    for matrix in (surface.hessian(), surface.gauss_newton()):
        assert torch.equal(matrix @ vector, 0.5 * vector)


def test_statistics_of_the_batch_stay_out_of_the_model():
    model, inputs, targets, _ = case("batch norm, batch")
    surface = Surface(model, cross_entropy, inputs, targets, normalisation="batch", chunk=3)
    before = [one.clone() for one in surface.model.buffers() if one.is_floating_point()]
    _ = surface.loss(), surface.gradient()
    assert surface.chunks == 1
    after = [one for one in surface.model.buffers() if one.is_floating_point()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert surface.on(inputs[:7], targets[:7]).chunks == 1


def test_dropout_is_off_and_the_model_stays_as_it_was():
    model = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)).train()
    inputs, targets = blobs(COUNT, 0)
    surface = Surface(model, cross_entropy, inputs, targets)
    assert surface.loss() == surface.loss()
    assert model.training


@pytest.mark.parametrize("bad", ["examples", "parameters"])
def test_nothing_to_differentiate_is_refused(bad):
    inputs, targets = blobs(0 if bad == "examples" else 4, 0)
    model = small_mlp() if bad == "examples" else norm_mlp().requires_grad_(False)
    with pytest.raises(ValueError, match="both must be above 0"):
        Surface(model, cross_entropy, inputs, targets)


def test_the_checks_of_this_file_can_fail():
    model, inputs, targets, _ = case("batch norm, batch")
    truth = dense_hessian(in_mode(model, {}), cross_entropy, inputs, targets)  # the wrong statistics
    found = Surface(model, cross_entropy, inputs, targets, normalisation="batch").hessian().dense()
    assert error(found, truth) > 0.1
    assert np.isfinite(found.numpy()).all()
