"""The instrument passes on known truths, and each fault that could be in it makes it fail."""

import dataclasses

import numpy as np
import pytest
import torch

from critbatch.analysis.comparison import most
from critbatch.analysis.planted import choices_of
from critbatch.calibration import Instrument, calibrate
from critbatch.calibration.check import at_least, at_most, binomial, covers, exactly, unbiased
from critbatch.estimate import Estimate
from critbatch.noise import noise_moments, noise_scale
from critbatch.worlds.regression import GaussianRegression


def failed(kind: str, **faults) -> list[str]:
    found = calibrate("quick", instrument=Instrument(**faults), kinds=(kind,))
    return [one.name for one in found if not one.passed]


@pytest.mark.parametrize("kind", ["moments", "curves", "comparisons", "hardware", "training"])
def test_the_instrument_passes(kind):
    assert failed(kind) == []


def divided_by_n(gradients, sizes, **more):
    trace, squared = noise_moments(gradients, sizes, **more)
    count = len(gradients)
    smaller = trace * (count - 1) / count
    return smaller, squared + (trace - smaller) / sizes.sum()


def clamped(gradients, sizes, **more):
    trace, squared = noise_moments(gradients, sizes, **more)
    return trace, torch.clamp(squared, min=1e-8)


def equal_sizes(gradients, sizes, **more):
    return noise_moments(gradients, torch.full_like(sizes, float(sizes.mean())), **more)


def infinite_population(gradients, sizes, *, population=None):
    return noise_moments(gradients, sizes)


def delta_method(traces, squared_norms, **more) -> Estimate:
    count = len(traces)
    top, bottom = traces.mean(), squared_norms.mean()
    matrix = np.cov(traces, squared_norms) / count
    value = float(top / bottom)
    error = abs(value) * (matrix[0, 0] / top**2 + matrix[1, 1] / bottom**2 - 2 * matrix[0, 1] / top / bottom) ** 0.5
    return Estimate(value, value - 1.96 * error, value + 1.96 * error, 0.95, count, "examples", "delta", "faulty")


def clamped_scale(traces, squared_norms, **more) -> Estimate:
    return noise_scale(traces, np.maximum(squared_norms, 1e-3), **more)


MOMENTS = {
    "dividing by n": ("moments", divided_by_n, "tr(Sigma), T1"),
    "clamping |G|^2": ("moments", clamped, "no noise scale from x and -x"),
    "unweighted micro-batches": ("moments", equal_sizes, "T1w"),
    "no finite population": ("moments", infinite_population, "T2"),
    "delta method": ("scale", delta_method, "coverage"),
    "clamped measurements": ("scale", clamped_scale, "no noise scale from x and -x"),
}


@pytest.mark.parametrize("fault", MOMENTS)
def test_a_fault_in_the_moments_is_caught(fault):
    place, wrong, name = MOMENTS[fault]
    assert any(name in one for one in failed("moments", **{place: wrong}))


def dropping_censored(world, generator):
    return {
        size: dataclasses.replace(
            one, scores=np.where(np.isfinite(one.scores), one.scores, np.nan), bounds=np.full_like(one.bounds, np.nan)
        )
        for size, one in choices_of(world, generator).items()
    }


def replacing_censored(world, generator):
    return {
        size: dataclasses.replace(
            one, scores=np.where(np.isnan(one.bounds), one.scores, one.bounds), bounds=np.full_like(one.bounds, np.nan)
        )
        for size, one in choices_of(world, generator).items()
    }


def too_narrow(choices):
    fit = Instrument().fit(choices)

    def half(one: Estimate) -> Estimate:
        if one.value is None or one.low is None or one.high is None:
            return one
        return dataclasses.replace(one, low=(one.low + one.value) / 2, high=(one.high + one.value) / 2)

    return dataclasses.replace(
        fit, s_min=half(fit.s_min), e_min=half(fit.e_min), critical_batch_size=half(fit.critical_batch_size)
    )


def always_a_number(choices):
    fit = Instrument().fit(choices)
    one = fit.critical_batch_size
    known = dataclasses.replace(one, value=one.value or 1.0, reason=None)
    return dataclasses.replace(fit, critical_batch_size=known)


CURVES = {
    "dropping censored runs": ("choices", dropping_censored, "censored"),
    "replacing censored runs": ("choices", replacing_censored, "censored"),
    "intervals half as wide": ("fit", too_narrow, "coverage"),
    "a number from one side of the bend": ("fit", always_a_number, "no number"),
}


@pytest.mark.parametrize("fault", CURVES)
def test_a_fault_in_the_curves_is_caught(fault):
    place, wrong, name = CURVES[fault]
    assert any(name in one for one in failed("curves", **{place: wrong}))


def without_holm(values, **more):
    found = most(values, **more)
    return dataclasses.replace(
        found,
        rivals=tuple(dataclasses.replace(one, words="better" if one.t_p < 0.05 else one.words) for one in found.rivals),
    )


def test_comparing_without_holm_is_caught():
    assert "false alarm on pure noise" in failed("comparisons", winner=without_holm)


def test_every_kind_of_check_can_fail():
    draws = np.random.default_rng(0).normal(0, 1, 400)
    assert unbiased("k", "n", 0.0, draws, detail="").passed
    assert not unbiased("k", "n", 0.5, draws, detail="").passed
    assert exactly("k", "n", 1.0, 1.0 + 1e-13, tolerance=1e-12, detail="").passed
    assert not exactly("k", "n", 1.0, 1.0 + 1e-11, tolerance=1e-12, detail="").passed
    assert not exactly("k", "n", 0.0, float("nan"), tolerance=1.0, detail="").passed
    right, wrong = np.arange(1000) % 20 > 0, np.arange(1000) % 5 > 0
    assert covers("k", "n", right).passed
    assert not covers("k", "n", wrong).passed
    assert covers("k", "n", wrong, gate=False).passed
    assert covers("k", "n", np.ones(20, dtype=bool)).passed  # 20 studies cannot tell 100% from 97%
    assert not covers("k", "n", np.ones(1000, dtype=bool)).passed
    assert at_most("k", "n", 0.05, ~right, detail="").passed
    assert not at_most("k", "n", 0.05, ~wrong, detail="").passed
    assert not at_least("k", "n", 1.0, right, detail="").passed


def test_the_binomial_interval_is_the_textbooks():
    from scipy.stats import binomtest

    for hits, count in ((0, 10), (7, 10), (10, 10), (950, 1000)):
        textbook = binomtest(hits, count).proportion_ci(0.95, method="exact")
        assert binomial(hits, count) == pytest.approx((textbook.low, textbook.high))


def test_the_regression_recursion_is_what_sgd_does():
    # 4,000 runs: the standard error of the mean loss is about 1%
    world = GaussianRegression(spectrum=(1.0, 0.5, 0.1), label_noise=0.3)
    looks = np.array([0, 1, 5, 20])
    rates = np.array([0.1, 0.4])
    found = world.simulate(4, rates, 4000, looks, np.random.default_rng(0))
    exact = world.expected_losses(4, rates, 20)[:, looks]
    error = found.std(axis=1, ddof=1) / 4000**0.5
    assert (np.abs(found.mean(1) - exact) <= 4 * error + 1e-12).all()
    assert (error[:, 1:] < 0.03 * exact[:, 1:]).all()
