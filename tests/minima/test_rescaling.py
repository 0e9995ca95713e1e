"""Rescaling of layers: the same function, other sharpness by Metric 2.1 and the Hessian, the same adaptive sharpness."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from critbatch.minima.adaptive import adaptive_sharpness, fisher_rao_norm
from critbatch.minima.directions import random_direction
from critbatch.minima.keskar import keskar_sharpness
from critbatch.minima.lines import line
from critbatch.minima.rescaling import rescaled
from critbatch.models.cnn import cnn
from tests.minima.matrices import dense_hessian
from tests.minima.surfaces import relu_net, trained_relu_net, trained_surface


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


MODELS = {
    "mlp": (relu_net, (4,), 2),
    "cnn": (lambda: cnn(1, 8, 3), (1, 8, 8), 2),
    "nested, leaky": (
        lambda: nn.Sequential(
            nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 6), nn.LeakyReLU(0.2)), nn.Dropout(0.3), nn.Linear(6, 3)
        ), (4,), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("alpha", [0.01, 2, 100])
@pytest.mark.parametrize("name", MODELS)
def test_the_function_stays_and_the_parameters_do_not(name, alpha):
    make, shape, pairs = MODELS[name]
    model = make().double().eval()
    before = copy.deepcopy(model.state_dict())
    inputs = torch.randn(10, *shape, generator=draws(), dtype=torch.float64)
    for first in range(pairs):
        other = rescaled(model, alpha, first=first)
        torch.testing.assert_close(other(inputs), model(inputs), rtol=1e-10, atol=1e-12)
        moved = [k for k, one in model.named_parameters() if not torch.equal(one, other.get_parameter(k))]
        assert len(moved) == 3, "weight and bias of one layer, weight of the next"
    assert all(torch.equal(one, before[key]) for key, one in model.state_dict().items())


def test_biases_go_with_their_layer():
    model = relu_net()
    other = rescaled(model, 4.0, first=1)
    torch.testing.assert_close(other[2].weight, 4 * model[2].weight)
    torch.testing.assert_close(other[2].bias, 4 * model[2].bias)
    torch.testing.assert_close(other[4].weight, model[4].weight / 4)
    assert torch.equal(other[4].bias, model[4].bias)
    assert torch.equal(other[0].weight, model[0].weight)


@pytest.mark.parametrize("alpha", [30, 100])
def test_metric_2_1_and_the_largest_eigenvalue_grow_tenfold_where_the_function_stays(alpha):
    """DIN-1, on a trained network."""
    plain, other = (trained_surface(one) for one in (trained_relu_net(), rescaled(trained_relu_net(), alpha)))
    assert float((plain.outputs() - other.outputs()).abs().max()) < 1e-4
    values = [
        [
            keskar_sharpness(one, epsilon=1e-3, generator=draws()).value,
            keskar_sharpness(one, epsilon=5e-4, generator=draws()).value,
            float(torch.linalg.eigvalsh(dense_hessian(one.model, one.losses, one.inputs, one.targets))[-1]),
        ]
        for one in (plain, other)
    ]
    assert all(after >= 10 * before > 0 for before, after in zip(*values, strict=True))


@pytest.mark.parametrize("alpha", [0.03, 30, 100])
def test_sharpness_in_the_scale_of_the_parameters_stays(alpha):
    """DIN-2 asks for 1%."""
    values = [
        [
            keskar_sharpness(one, epsilon=1e-2, offset=0.0, generator=draws()).value,
            adaptive_sharpness(one, radius=0.5),
            adaptive_sharpness(one, radius=0.01, shape="box"),
            adaptive_sharpness(one, radius=0.1, scale="filter"),
            adaptive_sharpness(one, radius=0.01, scale="filter", shape="box"),
            fisher_rao_norm(one),
        ]
        for one in (trained_surface(), trained_surface(rescaled(trained_relu_net(), alpha)))
    ]
    assert values[1] == pytest.approx(values[0], rel=1e-6)
    assert min(values[0]) > 1e-6


def test_losses_along_a_filter_normalised_direction_stay():
    """The direction is rescaled with the network: filters are made as long as the network's."""
    losses = []
    for model in (trained_relu_net(), rescaled(trained_relu_net(), 30.0)):
        surface = trained_surface(model)
        losses.append(line(surface, random_direction(surface, generator=draws())).loss)
    assert losses[1] == pytest.approx(losses[0], rel=1e-10)
    assert losses[0].max() > 2 * losses[0].min()


def test_single_units_are_left_alone_elementwise_and_by_fisher_rao_but_not_by_filters():
    model = copy.deepcopy(trained_relu_net())
    factors = torch.logspace(-1, 1, 8, dtype=torch.float64)
    with torch.no_grad():
        model[0].weight *= factors[:, None]
        model[0].bias *= factors
        model[2].weight /= factors
    plain, other = trained_surface(), trained_surface(model)
    assert adaptive_sharpness(other, radius=0.5) == pytest.approx(adaptive_sharpness(plain, radius=0.5), rel=1e-8)
    assert fisher_rao_norm(other) == pytest.approx(fisher_rao_norm(plain), rel=1e-8)
    by_filter = [adaptive_sharpness(one, radius=0.1, scale="filter") for one in (plain, other)]
    assert abs(by_filter[1] / by_filter[0] - 1) > 0.1


def tied() -> nn.Module:
    layer = nn.Linear(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 3))


class Other(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (relu_net, {"alpha": 0.0}, r"alpha=0.0\)`: must be above 0"),
        (relu_net, {"alpha": -2.0}, "ReLU keeps no negative factor"),
        (relu_net, {"alpha": float("inf")}, "finite"),
        (relu_net, {"first": 2}, "3 linear and convolutional layers.*0 to 1"),
        (relu_net, {"first": -1}, "0 to 1"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)), {}, "Tanh.*does not pass a factor"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)), {}, "BatchNorm1d"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.ReLU(), nn.Linear(4, 3)), {}, "LayerNorm"),
        (tied, {}, "shares its parameters"),
        (Other, {}, "Other holds layers in an order"),
        (
            lambda: nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 4)), nn.ReLU(), nn.Linear(4, 3)), {},
            "computed from other parameters",
        ),
    ],
)  # fmt: skip
def test_where_the_function_would_not_stay_it_is_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        rescaled(make(), **({"alpha": 3.0} | options))
