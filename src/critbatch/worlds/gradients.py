"""Gradients and their moments from worlds of known noise scale, drawn exactly."""

import numpy as np

Shape = int | tuple[int, ...]


def gaussian_moments(
    scale: float, *, batch_size: int, dimension: int, micro_batches: int, measurements: Shape,
    generator: np.random.Generator, squared_norms: np.ndarray | float = 1.0,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return measured tr(Sigma) and |G|^2 of isotropic Gaussian gradients with |G|^2 = 1 and this noise scale.

    The two come from a chi-squared and a noncentral chi-squared number, so that no gradient is drawn: for isotropic
    Gaussian gradients this is their exact distribution, at any dimension.

    Source: derived; the analysis-of-variance form of McCandlish et al. (2018), arXiv:1812.06162, Appendix A.1.

    Args:
        scale: True noise scale tr(Sigma)/|G|^2, in examples; tr(Sigma) where `squared_norms` are given.
        batch_size: Examples behind a measurement.
        dimension: Number of parameters.
        micro_batches: Micro-batches, of equal size, in a batch; at least 2.
        measurements: How many, or the shape of what is returned.
        generator: Of all draws.
        squared_norms: True |G|^2 of each measurement, shape (measurement,), where it is not 1.
    """
    freedom = dimension * (micro_batches - 1)
    traces = scale * generator.chisquare(freedom, measurements) / freedom
    share = scale / dimension / batch_size  # variance of a coordinate of the batch's mean gradient
    lengths = share * generator.noncentral_chisquare(dimension, np.asarray(squared_norms) / share, measurements)
    return traces, lengths - traces / batch_size


def wandering_moments(
    scale: float, *, batch_size: int, dimension: int, measurements: int, correlation: float, spread: float,
    generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return moments measured while |G|^2 wanders: a stationary, autocorrelated series, as of moving parameters.

    log |G|^2 is an AR(1) process, with a mean that makes E|G|^2 = 1; given |G|^2 the draws are those of
    `gaussian_moments` for 8 micro-batches. The ratio of the means, tr(Sigma)/E|G|^2, is `scale`.

    Args:
        scale: True tr(Sigma)/E|G|^2, in examples.
        batch_size: Examples behind a measurement.
        dimension: Number of parameters.
        measurements: Length of the series.
        correlation: Of log |G|^2 at neighbouring steps.
        spread: Standard deviation of log |G|^2.
        generator: Of all draws.
    """
    noise = generator.standard_normal(measurements)
    path = np.empty(measurements)
    state = noise[0]
    for step, shock in enumerate(noise):
        state = shock if step == 0 else correlation * state + (1 - correlation**2) ** 0.5 * shock
        path[step] = state
    return gaussian_moments(
        scale, batch_size=batch_size, dimension=dimension, micro_batches=8, measurements=measurements,
        generator=generator, squared_norms=np.exp(spread * path - spread**2 / 2),
    )  # fmt: skip


def gaussian_gradients(
    mean: np.ndarray, *, deviations: np.ndarray, sizes: np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Return mean gradients of micro-batches, shape (draw, micro-batch, parameter), of Gaussian per-example gradients.

    Args:
        mean: Shape (parameter,), G.
        deviations: Shape (parameter,), standard deviations of the per-example gradient: Sigma is diagonal.
        sizes: Shape (micro-batch,), examples in each.
        draws: How many batches.
        generator: Of all draws.
    """
    noise = generator.standard_normal((draws, len(sizes), len(mean)))
    return mean + noise * deviations / np.sqrt(sizes)[:, None]


def steps_on_a_quadratic(
    curvature: np.ndarray, *, gradient: np.ndarray, deviations: np.ndarray, batch_size: int, learning_rate: float,
    draws: int, generator: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Return the batch gradients at one step of plain SGD and at the next, each of shape (draw, parameter).

    The loss is quadratic with a diagonal Hessian, and the noise of the gradient does not depend on the parameters. All
    draws start from the same parameters.

    Args:
        curvature: Shape (parameter,), the Hessian's diagonal.
        gradient: Shape (parameter,), G at the start.
        deviations: Shape (parameter,), standard deviations of the per-example gradient.
        batch_size: Examples in each step.
        learning_rate: Of the step between the two.
        draws: How many pairs of steps.
        generator: Of all draws.
    """
    noise = generator.standard_normal((2, draws, len(gradient))) * deviations / batch_size**0.5
    before = gradient + noise[0]
    return before, gradient - learning_rate * curvature * before + noise[1]
