"""A network with one hidden layer in numpy: its gradients against autograd, and how its steps are drawn."""

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.trajectories.two_layer import TwoLayer, follow, isotropic, replaced, shuffled

COUNT, INPUTS, HIDDEN, CLASSES = 24, 5, 4, 3


def network(l2: float = 0.0) -> TwoLayer:
    drawn = np.random.default_rng(0)
    return TwoLayer(drawn.normal(size=(COUNT, INPUTS)), drawn.integers(CLASSES, size=COUNT), HIDDEN, CLASSES, l2)


def start(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=network().size)


def torch_gradients(one: TwoLayer, parameters: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return the gradient of each chosen example by autograd, shape (example, parameter)."""
    model = nn.Sequential(nn.Linear(INPUTS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CLASSES)).double()
    nn.utils.vector_to_parameters(torch.from_numpy(parameters), model.parameters())
    inputs, targets = torch.from_numpy(one.inputs), torch.from_numpy(one.targets)
    rows = []
    for index in chosen.tolist():
        loss = nn.functional.cross_entropy(model(inputs[index : index + 1]), targets[index : index + 1])
        parts = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([part.flatten() for part in parts]).numpy())
    return np.array(rows)


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_gradients_are_those_of_autograd(l2):
    one, parameters, chosen = network(l2), start(), np.array([3, 7, 7, 20])
    expected = torch_gradients(one, parameters, chosen).mean(0) + l2 * parameters
    np.testing.assert_allclose(one.gradient(parameters, chosen), expected, rtol=1e-10, atol=1e-12)


def test_the_trace_is_that_of_the_covariance_of_single_gradients():
    one, parameters = network(0.3), start()
    rows = torch_gradients(one, parameters, np.arange(COUNT))
    expected = ((rows - rows.mean(0)) ** 2).sum(1).mean()
    assert one.noise_trace(parameters) == pytest.approx(expected, rel=1e-10)


def test_an_epoch_that_is_shuffled_sees_every_example_once():
    one, parameters = network(), start()
    total = sum(shuffled(one, 6, np.random.default_rng(3))(parameters))
    np.testing.assert_allclose(total / 4, one.gradient(parameters, slice(None)), rtol=1e-10, atol=1e-12)
    assert len(list(shuffled(one, 7, np.random.default_rng(3))(parameters))) == 3  # what is left over is left out


def test_drawing_with_replacement_is_unbiased_and_as_noisy_as_the_trace_says():
    one, parameters, size = network(), start(), 6
    drawn = np.array([
        gradient for _ in range(1500) for gradient in replaced(one, size, np.random.default_rng(_))(parameters)
    ])  # fmt: skip
    mean = one.gradient(parameters, slice(None))
    trace = ((drawn - mean) ** 2).sum(1).mean()
    # 6,000 draws: the mean square has a standard error of about 1.5 %, so that 6 % is a bias that would be seen
    assert trace == pytest.approx(one.noise_trace(parameters) / size, rel=0.06)
    assert ((drawn.mean(0) - mean) ** 2).sum() < 12 * trace / len(drawn)


def test_isotropic_noise_has_the_trace_of_a_batch_and_no_direction():
    one, parameters, size = network(0.2), start(), 6
    drawn = np.array([
        gradient.copy() for seed in range(1500) for gradient in isotropic(one, size, np.random.default_rng(seed))(parameters)
    ])  # fmt: skip
    apart = drawn - one.gradient(parameters, slice(None))
    assert (apart**2).sum(1).mean() == pytest.approx(
        one.noise_trace(parameters) / size, rel=0.03
    )  # standard error 0.3 %
    spectrum = np.linalg.eigvalsh(apart.T @ apart / len(apart))
    assert spectrum[-1] / spectrum[0] < 1.4  # 39 parameters, 6,000 draws: 1.36 at the edges of Marchenko and Pastur


def test_a_trajectory_is_plain_steps():
    one = network(0.1)
    found = follow(start(), shuffled(one, 8, np.random.default_rng(5)), learning_rate=0.2, epochs=3)
    parameters, drawn = start().copy(), np.random.default_rng(5)
    for row in found:
        order = drawn.permutation(COUNT)
        for first in range(0, COUNT, 8):
            parameters = parameters - 0.2 * one.gradient(parameters, order[first : first + 8])
        np.testing.assert_allclose(row, parameters, rtol=1e-12)
