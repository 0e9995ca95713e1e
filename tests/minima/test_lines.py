"""Lines and planes: parabolas, known ends, and BatchNorm's statistics by hand."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.minima.lines import POSITIONS, Line, flat_width, interpolation, line, line_curvature, plane
from critbatch.minima.surface import Surface
from critbatch.objective import correct, cross_entropy
from tests.minima.surfaces import NETWORKS, curved, network_surface, norm_cnn, quadratic, relu_net, trained_surface
from tests.problems import Frozen, blobs


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(losses, positions=POSITIONS) -> Line:
    found = np.array(positions)
    return Line(found, np.array([losses(one) for one in found]), {}, 1.0)


def test_the_positions_are_25_from_minus_1_to_2_with_both_minima_among_them():
    assert len(POSITIONS) == 25
    assert (POSITIONS[0], POSITIONS[8], POSITIONS[16], POSITIONS[-1]) == (-1, 0, 1, 2)


def test_the_width_of_a_parabola():
    """L = 0.02 + 8 (a - 1)^2 is below 2 x 0.02 + 0.1 for |a - 1| < sqrt(0.12 / 8)."""
    half = (0.12 / 8) ** 0.5
    fine = drawn(lambda at: 0.02 + 8 * (at - 1) ** 2, np.linspace(-1, 2, 3001))
    found = flat_width(fine, 1.0)
    # chords of 0.001 lie above the parabola: by (0.001)^2 / 8 x 16 at a slope of 1.96
    assert (found.low, found.high) == (pytest.approx(1 - half, abs=2e-6), pytest.approx(1 + half, abs=2e-6))
    assert not found.is_cut
    # on the usual grid the loss is taken for linear between 1 and 1.125, where it is 0.145
    assert flat_width(drawn(lambda at: 0.02 + 8 * (at - 1) ** 2), 1.0).width == pytest.approx(2 * 0.125 * 0.12 / 0.125)
    assert line_curvature(fine, 1.0) == pytest.approx(16, rel=1e-6)


def test_each_end_has_its_own_width_and_curvature():
    both = drawn(lambda at: min(2 * at**2, 50 * (at - 1) ** 2))
    wide, narrow = flat_width(both, 0.0), flat_width(both, 1.0)
    assert wide.width > 3 * narrow.width
    assert (line_curvature(both, 0.0), line_curvature(both, 1.0)) == (pytest.approx(4), pytest.approx(100))


def test_a_width_that_the_line_cuts_says_so():
    found = flat_width(drawn(lambda at: 0.01 * at**2), 0.0)
    assert (found.low, found.high, found.is_cut) == (-1, 2, True)
    assert flat_width(drawn(lambda at: max(at, 0.0)), 0.0).is_cut


@pytest.mark.parametrize("wall", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_is_a_wall(wall):
    found = flat_width(drawn(lambda at: 0.0 if abs(at) < 0.3 else wall), 0.0)
    assert (found.low, found.high) == (-0.25, 0.25)
    assert not found.is_cut


@pytest.mark.parametrize("positions", [(-1.0, 0.0, 0.3), (-0.2, 0.0, 2.0)])
def test_the_curvature_of_a_parabola_is_exact_on_uneven_positions(positions):
    assert line_curvature(drawn(lambda at: 3 + at + 2.5 * at**2, positions), 0.0) == pytest.approx(5)


@pytest.mark.parametrize("l2", [0.0, 0.4])
def test_lines_and_planes_reproduce_a_quadratic(l2):
    hessian, point, minimum = curved(4), np.arange(4.0), np.ones(4)
    surface = quadratic(hessian, point, minimum, l2=l2)
    first, second = torch.randn(2, 4, generator=draws(), dtype=torch.float64)

    def loss(w):
        return 0.5 * (w - minimum) @ hessian @ (w - minimum) + l2 / 2 * w @ w

    rows, columns = [-1.0, 0.0, 2.0], [0.0, 0.5]
    truth = [[loss(point + a * first.numpy() + b * second.numpy()) for b in columns] for a in rows]
    found = plane(surface, first, second, first_positions=rows, second_positions=columns)
    np.testing.assert_allclose(found, truth, rtol=1e-10)
    along = line(surface, first, positions=rows)
    np.testing.assert_allclose(along.loss, np.array(truth)[:, 0], rtol=1e-10)
    assert along.length == pytest.approx(np.linalg.norm(first.numpy()))


def moved(surface: Surface, seed: int = 5) -> Surface:
    """Return another network of the same shape, with other running statistics."""
    model = copy.deepcopy(surface.model)
    draw = draws(seed)
    with torch.no_grad():
        for one in model.parameters():
            one += 0.5 * torch.randn(one.shape, generator=draw, dtype=one.dtype)
        for name, one in model.named_buffers():
            if "running" in name:
                one += torch.rand(one.shape, generator=draw, dtype=one.dtype)
    return Surface(model, surface.losses, surface.inputs, surface.targets, l2=surface.l2)


@pytest.mark.parametrize("statistics", ["recomputed", "interpolated", "batch"])
@pytest.mark.parametrize("name", NETWORKS)
def test_between_two_networks_the_line_is_that_of_their_mixed_weights(name, statistics):
    first = network_surface(name, l2=0.1)
    second = moved(first)
    state = copy.deepcopy(first.model.state_dict())
    found = interpolation(
        first, second, positions=(-1.0, 0.0, 0.5, 1.0), statistics=statistics, metrics={"accuracy": correct}
    )
    losses, shares = zip(*(naive(first, second, at, statistics) for at in found.positions), strict=True)
    np.testing.assert_allclose(found.loss, losses, rtol=1e-9)
    np.testing.assert_allclose(found.metrics["accuracy"], shares, rtol=1e-9)
    assert found.length == pytest.approx(float((second.point - first.point).norm()))
    assert all(torch.equal(one, state[key]) for key, one in first.model.state_dict().items())


def naive(first: Surface, second: Surface, at: float, statistics: str) -> tuple[float, float]:
    """Return loss and accuracy of a model made of mixed state dictionaries."""
    model = copy.deepcopy(first.model)
    ends = first.model.state_dict(), second.model.state_dict()
    state = {
        key: (1 - at) * one + at * ends[1][key] if one.is_floating_point() else one for key, one in ends[0].items()
    }
    state = {key: one.clamp(min=0) if "running_var" in key else one for key, one in state.items()}
    model.load_state_dict(state)
    if statistics != "interpolated":
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.train()
                layer.momentum = 1.0
    with torch.no_grad():
        outputs = model(first.inputs)
        outputs = model.eval()(first.inputs) if statistics == "recomputed" else outputs
        penalty = first.l2 / 2 * sum(float(one.square().sum()) for one in model.parameters())
        return (
            float(cross_entropy(outputs, first.targets).mean()) + penalty,
            float(correct(outputs, first.targets).mean()),
        )


def test_at_its_ends_an_interpolated_line_is_at_both_networks():
    first = network_surface("cnn with batch norm")
    second = moved(first)
    found = interpolation(first, second, statistics="interpolated")
    assert found.loss[8] == pytest.approx(first.loss(), rel=1e-12)
    assert found.loss[16] == pytest.approx(second.loss(), rel=1e-12)


def test_statistics_can_come_from_other_examples_than_the_loss():
    first = network_surface("cnn with batch norm")
    few = first.on(first.inputs[:6], first.targets[:6])
    found = interpolation(few, moved(few), positions=(0.0, 1.0), reference=first.inputs)
    whole = interpolation(first, moved(first), positions=(0.0, 1.0))
    own = interpolation(few, moved(few), positions=(0.0, 1.0))
    model = copy.deepcopy(first.model)
    model[1].momentum = 1.0
    model[1].train()
    model(first.inputs)
    expected = cross_entropy(model.eval()(few.inputs), few.targets).mean()
    assert found.loss[0] == pytest.approx(expected.item(), rel=1e-10)
    assert found.loss[0] != whole.loss[0] != own.loss[0]


def frozen_surface(seed: int) -> Surface:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Surface(Frozen().double(), cross_entropy, *blobs(12, 0, torch.float64))


def test_networks_that_differ_in_more_than_trained_weights_are_refused():
    with pytest.raises(ValueError, match="frozen parameters or buffers differ, 'shift' first"):
        interpolation(frozen_surface(0), frozen_surface(1))
    other = Surface(nn.Linear(4, 3).double(), cross_entropy, *blobs(12, 0, torch.float64))
    with pytest.raises(ValueError, match="same trained parameters"):
        interpolation(trained_surface(), other)
    same = frozen_surface(0)
    assert interpolation(same, same.at(same.point + 1), positions=(0.0, 1.0)).loss[0] == pytest.approx(same.loss())


@pytest.mark.parametrize("positions", [(0.0,), (0.0, 0.0), (1.0, 0.0)])
def test_positions_must_increase(positions):
    with pytest.raises(ValueError, match="at least 2 positions that increase"):
        interpolation(trained_surface(), trained_surface(relu_net()), positions=positions)


def test_what_a_line_cannot_say_is_refused():
    curve = drawn(lambda at: at**2)
    with pytest.raises(ValueError, match=r"nearest is 0\.125"):
        flat_width(curve, 0.1)
    with pytest.raises(ValueError, match="inner position"):
        line_curvature(curve, 2.0)
    with pytest.raises(ValueError, match="not finite"):
        flat_width(drawn(lambda at: np.nan), 0.0)


def test_the_models_stay_in_the_mode_they_were_in():
    model = norm_cnn().double().train()
    inputs, targets = NETWORKS["cnn with batch norm"][1]()
    surface = Surface(model, cross_entropy, inputs, targets)
    interpolation(surface, moved(surface), positions=(0.0, 1.0))
    assert model.training
    assert not any(one.training for one in surface.model.modules())
