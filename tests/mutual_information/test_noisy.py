"""Information with added noise: bounds around values by quadrature and in closed form, twins from the definitions."""

import numpy as np
import pytest

from critbatch.mutual_information import kernel
from critbatch.mutual_information.gaussian import linear_information, linear_target_information
from critbatch.mutual_information.kernel import noisy_information, noisy_target_information


def naive(activations: np.ndarray, variance: float) -> list[float]:
    """Return the two bounds from means, pair by pair, with the divergences of Gaussians written out."""
    covariance = variance * np.eye(activations.shape[1])
    bounds = []
    for kind in ("bhattacharyya", "kullback leibler"):
        total = 0.0
        for one in activations:
            inner = 0.0
            for other in activations:
                squared = (one - other) @ np.linalg.solve(covariance, one - other)
                inner += np.exp(-squared / 8 if kind == "bhattacharyya" else -squared / 2)
            total -= np.log2(inner / len(activations))
        bounds.append(total / len(activations))
    return bounds


def by_quadrature(activations: np.ndarray, variance: float) -> float:
    """Return I(X;T) in bits of a single unit: entropy of the mixture less that of the noise, on a grid."""
    grid = np.linspace(activations.min() - 8 * variance**0.5, activations.max() + 8 * variance**0.5, 20_001)
    noise = np.exp(-((grid[:, None] - activations) ** 2) / (2 * variance)) / (2 * np.pi * variance) ** 0.5
    mixture = noise.mean(1)
    entropy = -(mixture * np.log2(np.maximum(mixture, 1e-300))).sum() * (grid[1] - grid[0])
    return entropy - np.log2(2 * np.pi * np.e * variance) / 2


@pytest.mark.parametrize("block", [7, 1024])
def test_the_bounds_are_sums_over_pairs(block, monkeypatch):
    monkeypatch.setattr(kernel, "BLOCK", block)
    activations = 100 + np.random.default_rng(0).normal(size=(20, 3))
    assert noisy_information(activations, 0.3) == pytest.approx(naive(activations, 0.3), rel=1e-9)


@pytest.mark.parametrize("variance", [0.01, 0.3, 3.0])
def test_the_bounds_bracket_the_exact_value_of_a_mixture(variance):
    activations = np.random.default_rng(1).normal(size=24)
    exact = by_quadrature(activations, variance)
    low, high = noisy_information(activations[:, None], variance)
    assert low < exact < high
    assert high - low < 0.8


def test_far_apart_it_is_the_number_of_states_and_close_together_nothing():
    states = 1000.0 * (np.arange(32) % 8)[:, None]
    assert noisy_information(states, 0.1) == pytest.approx((3, 3), abs=1e-12)
    assert noisy_target_information(states, np.arange(32) % 8 < 4, 0.1) == pytest.approx((1, 1), abs=1e-12)
    assert noisy_target_information(states, np.arange(32) < 16, 0.1) == pytest.approx((0, 0), abs=1e-12)
    assert noisy_information(np.ones((9, 2)), 0.1) == (0, 0)


def test_bounds_about_the_target_bracket_the_exact_value():
    activations, labels = np.random.default_rng(2).normal(size=40), np.random.default_rng(3).integers(0, 3, 40)
    activations[labels == 2] += 1.5
    exact = by_quadrature(activations, 0.2)
    for label in range(3):
        exact -= (labels == label).mean() * by_quadrature(activations[labels == label], 0.2)
    low, high = noisy_target_information(activations[:, None], labels, 0.2)
    assert low < exact < high
    parts = [((labels == label).mean(), naive(activations[labels == label, None], 0.2)) for label in range(3)]
    whole = naive(activations[:, None], 0.2)
    assert low == pytest.approx(whole[0] - sum(share * above for share, (_, above) in parts), rel=1e-9)
    assert high == pytest.approx(whole[1] - sum(share * below for share, (below, _) in parts), rel=1e-9)


def test_bounds_bracket_a_linear_gaussian_layer():
    draw = np.random.default_rng(4)
    root, weights = draw.normal(size=(3, 3)), draw.normal(size=(2, 3))
    inputs = draw.normal(size=(2000, 3)) @ root.T
    exact = linear_information(weights, root @ root.T, 1.0)
    low, high = noisy_information(inputs @ weights.T, 1.0)
    assert low < exact < high  # far below log2 2000 = 11: what so few examples do is below 0.05 bits
    assert exact < 6
    assert high - low < 1.5


def test_one_unit_and_one_input_have_the_closed_form():
    assert linear_information(np.array([[3.0]]), np.array([[2.0]]), 0.5) == pytest.approx(np.log2(37) / 2, rel=1e-12)
    # correlation of T = 3 X + noise of 0.5 and Y = X + noise of 4, X of variance 2
    squared = 6**2 / (18.5 * 6)
    found = linear_target_information(
        np.array([[3.0]]), np.array([[1.0]]), np.array([[2.0]]), variance=0.5, target_variance=4.0
    )
    assert found == pytest.approx(-np.log2(1 - squared) / 2, rel=1e-12)


def test_linear_information_equals_entropies_of_the_joint_covariance():
    draw = np.random.default_rng(5)
    weights, teacher, root = draw.normal(size=(4, 5)), draw.normal(size=(2, 5)), draw.normal(size=(5, 5))
    inputs = root @ root.T
    joined = np.vstack([np.eye(5), weights, teacher])
    covariance = joined @ inputs @ joined.T + np.diag([0.0] * 5 + [0.3] * 4 + [0.7] * 2)

    def entropy(places: list[int]) -> float:
        return np.log2(np.linalg.det(2 * np.pi * np.e * covariance[np.ix_(places, places)])) / 2

    x, t, y = list(range(5)), list(range(5, 9)), list(range(9, 11))
    known = linear_information(weights, inputs, 0.3)
    assert known == pytest.approx(entropy(x) + entropy(t) - entropy(x + t), rel=1e-9)
    of_target = linear_target_information(weights, teacher, inputs, variance=0.3, target_variance=0.7)
    assert of_target == pytest.approx(entropy(t) + entropy(y) - entropy(t + y), rel=1e-9)
    assert 0 < of_target < known, "a layer knows no more of the target than of the input"


def test_a_target_without_noise_that_is_the_input_is_known_like_the_input():
    draw = np.random.default_rng(6)
    weights, teacher = draw.normal(size=(3, 4)), np.vstack([np.eye(4), np.ones(4)])  # one target too many
    found = linear_target_information(weights, teacher, np.eye(4), variance=0.1, target_variance=0.0)
    assert found == pytest.approx(linear_information(weights, np.eye(4), 0.1), rel=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: noisy_information(np.ones((3, 2)), 0.0), r"variance=0.0\).*above 0"),
        (lambda: noisy_information(np.ones((0, 2)), 1.0), "of 0 examples"),
        (lambda: noisy_target_information(np.ones((3, 2)), np.ones(4), 1.0), "3 examples and 4 labels"),
        (lambda: linear_information(np.eye(2), np.eye(2), 0.0), "variance of 0.0"),
    ],
)
def test_what_has_no_information_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
