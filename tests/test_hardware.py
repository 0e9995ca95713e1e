"""Step time and accumulation against batch size."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from torch import nn

from critbatch.engine.sequential import take_step
from critbatch.estimate import Estimate
from critbatch.finding import to_json
from critbatch.hardware.accumulation import compare_accumulation, gradient_difference
from critbatch.hardware.bench import Bench
from critbatch.hardware.probe import checked_sizes, probe
from critbatch.hardware.step_time import StepTimeFit, fastest_time, fit_step_time, time_optimal_batch_size
from critbatch.hardware.timing import median_estimate, time_steps
from critbatch.optimizers.adam import Adam

from .problems import blob_task, dropout_mlp, norm_mlp, run_of

SIZES = 2 ** np.arange(12)
T0, T1 = 2e-4, 1e-6  # knee 200
CPU = torch.device("cpu")


def step_times(sizes=SIZES, *, t0=T0, t1=T1, launch=0.0, noise=0.0, repeats=10, seed=0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    times = np.maximum(launch, t0 + t1 * sizes)
    return times[:, None] * np.exp(noise * draw.standard_normal((len(sizes), repeats)))


def known(value: float, low: float | None, high: float | None) -> Estimate:
    return Estimate(value, low, high, 0.95, 5, "examples", "planted", "E_min/S_min")


def test_planted_coefficients_are_recovered():
    fit = fit_step_time(SIZES, step_times())
    found = [one.value for one in (fit.t0, fit.t1, fit.knee, fit.ninety_percent)]
    np.testing.assert_allclose(found, [T0, T1, T0 / T1, 9 * T0 / T1], rtol=1e-9)  # lstsq, sizes over three decades
    assert [one.unit for one in (fit.t0, fit.t1, fit.knee)] == ["seconds", "seconds per example", "examples"]
    assert (fit.line_from, fit.reason, fit.launch.value) == (1, None, None)


def test_the_order_of_sizes_does_not_matter():
    mixed = np.random.default_rng(1).permutation(len(SIZES))
    times = step_times(noise=0.1)
    assert fit_step_time(SIZES[mixed], times[mixed]) == fit_step_time(SIZES, times)


@pytest.fixture(scope="module")
def worlds() -> list[StepTimeFit]:
    """Return fits to 400 made-up devices with errors of 20 % and no plateau."""
    return [fit_step_time(SIZES[3:], step_times(SIZES[3:], noise=0.2, seed=seed)) for seed in range(400)]


def assert_covers(covered: np.ndarray | int, count: int) -> None:
    """Fail if the share lies 4 standard errors from 95 %: with 400 worlds below 0.906 or above 0.994."""
    assert (np.abs(np.divide(covered, count) - 0.95) <= 4 * (0.95 * 0.05 / count) ** 0.5).all(), covered


def test_intervals_of_the_line_cover_the_truth(worlds):
    truths = T0, T1, T0 / T1, 9 * T0 / T1
    found = [(fit.t0, fit.t1, fit.knee, fit.ninety_percent) for fit in worlds]
    covered = np.array([[one.low <= t <= one.high for one, t in zip(row, truths, strict=True)] for row in found])
    assert_covers(covered.sum(0), len(worlds))


def test_the_check_of_coverage_catches_intervals_that_are_a_third_too_short(worlds):
    short = [np.subtract(fit.knee.value + (np.array([fit.knee.low, fit.knee.high]) - fit.knee.value) * 2 / 3, 200)
             for fit in worlds]  # fmt: skip
    with pytest.raises(AssertionError):
        assert_covers(sum(bool(low <= 0 <= high) for low, high in short), len(worlds))


def test_a_plateau_that_is_not_there_is_rarely_found(worlds):
    found = sum(fit.line_from > SIZES[3] for fit in worlds)
    assert found <= 0.01 * len(worlds) + 4 * (0.01 * 0.99 * len(worlds)) ** 0.5


def test_a_plateau_is_found_and_the_line_is_what_lies_above_it():
    launch = T0 + 40 * T1  # ends between batch sizes 32 and 64
    fit = fit_step_time(SIZES, step_times(launch=launch, noise=0.01, seed=3))
    assert fit.line_from == 64
    assert fit.launch.low <= launch <= fit.launch.high
    assert fit.knee.low <= T0 / T1 <= fit.knee.high
    exact = fit_step_time(SIZES, step_times(launch=launch))
    np.testing.assert_allclose([exact.t0.value, exact.t1.value, exact.launch.value], [T0, T1, launch], rtol=1e-9)


def test_ninety_percent_of_the_peak_is_no_number_inside_the_plateau():
    fit = fit_step_time(SIZES, step_times(t0=1e-6, launch=1e-4, noise=1e-4))
    assert fit.line_from > 9
    assert fit.ninety_percent.value is None
    assert "plateau" in fit.ninety_percent.reason


def test_a_sawtooth_stays_in_the_residuals():
    times = step_times()
    times[5] *= 1.5
    fit = fit_step_time(SIZES, times)
    assert [point.seconds for point in fit.points] == list(np.median(times, axis=1))
    assert max(fit.points, key=lambda point: point.residual).batch_size == SIZES[5]
    assert fit.points[5].residual > 0.3
    assert fit.residual > 0.05


def test_four_sizes_are_too_few():
    fit = fit_step_time(SIZES[:4], step_times(SIZES[:4]))
    assert "at least 5 batch sizes, got 4" in fit.reason
    assert all(one.value is None and one.reason for one in (fit.t0, fit.t1, fit.knee, fit.launch))
    assert [point.residual for point in fit.points] == [None] * 4
    assert fit_step_time(SIZES[:5], step_times(SIZES[:5])).knee.value is not None


def test_a_device_whose_time_does_not_grow_has_no_knee_but_a_bound():
    fit = fit_step_time(SIZES[:6], step_times(SIZES[:6], t1=1e-9, noise=0.05))
    assert fit.t0.value == pytest.approx(T0, rel=0.1)
    assert (fit.t1.value, fit.knee.value) == (None, None)
    assert "try larger" in fit.knee.reason
    assert fit.knee.low > 32
    assert fit.knee.high is None


def test_a_device_at_peak_throughput_from_the_start_has_no_t0_but_a_bound():
    fit = fit_step_time(SIZES, step_times(t0=0.0, noise=0.05))
    assert fit.t1.value == pytest.approx(T1, rel=0.1)
    assert (fit.t0.value, fit.knee.value) == (None, None)
    assert "try smaller" in fit.knee.reason
    assert 0 < fit.t0.high < T1
    assert fit.knee.low is None
    assert 0 < fit.knee.high < 1


@pytest.mark.parametrize(
    ("sizes", "times", "message"),
    [
        ([1, 2, 2, 4, 8], 1.0, "each size once"),
        ([0, 1, 2, 4, 8], 1.0, "above 0"),
        ([1, 2, 4, 8, 16], 0.0, "15 of 15 times"),
        ([1, 2, 4, 8, 16], math.nan, "15 of 15 times"),
    ],
)
def test_wrong_times_are_refused(sizes, times, message):
    with pytest.raises(ValueError, match=message):
        fit_step_time(np.array(sizes), np.full((5, 3), times))


def test_the_optimum_is_the_minimum_over_all_batch_sizes():
    """The closed form against enumeration."""
    s_min, e_min = 300.0, 45_000.0
    sizes = np.arange(1, 5000)
    total = (s_min + e_min / sizes) * (T0 + T1 * sizes)
    found = time_optimal_batch_size(known(e_min / s_min, 100.0, 200.0), fit_step_time(SIZES, step_times()))
    assert abs(found.value - sizes[total.argmin()]) <= 0.5
    least = fastest_time(s_min, e_min, T0, T1)
    assert least <= total.min() * (1 + 1e-12)
    assert total.min() <= least * (1 + 1e-5)  # the nearest whole batch size


def test_the_interval_of_the_optimum_covers_the_truth(worlds):
    draw, covered, half = np.random.default_rng(0), 0, 0.3 * 1.96
    for fit in worlds:
        value = 150.0 * math.exp(0.3 * draw.standard_normal())
        found = time_optimal_batch_size(known(value, value * math.exp(-half), value * math.exp(half)), fit)
        covered += found.value is not None and found.low <= (150.0 * T0 / T1) ** 0.5 <= found.high
    assert_covers(covered, len(worlds))


def test_the_optimum_needs_both_numbers_and_says_which_is_missing():
    fit = fit_step_time(SIZES, step_times(noise=0.05))
    no_critical = Estimate.missing("no levelling-off is seen", unit="examples", definition="E_min/S_min")
    assert "critical batch size: no levelling-off" in time_optimal_batch_size(no_critical, fit).reason
    flat = fit_step_time(SIZES[:6], step_times(SIZES[:6], t1=1e-9, noise=0.05))
    assert (
        "step time: the time of a step does not clearly grow" in time_optimal_batch_size(known(9.0, 8, 10), flat).reason
    )
    open_above = time_optimal_batch_size(known(150.0, 100.0, None), fit)
    assert open_above.low < open_above.value
    assert open_above.high is None
    with pytest.raises(ValueError, match=r"level 0\.9, the step time 0\.95"):
        time_optimal_batch_size(dataclasses.replace(known(150.0, 1, 200), level=0.9), fit)
    with pytest.raises(ValueError, match="none can be negative"):
        fastest_time(1.0, 1.0, -1e-9, 1.0)


def test_an_optimum_on_the_plateau_is_a_bound():
    fit = fit_step_time(SIZES, step_times(launch=T0 + 40 * T1))
    found = time_optimal_batch_size(known(1.0, 0.5, 2.0), fit)
    assert (found.value, found.low) == (None, 64)
    assert "plateau" in found.reason


def test_the_median_has_an_interval_from_order_statistics():
    """For 10 values: the second and the ninth, which hold the median with probability 0.979."""
    found = median_estimate([float(one) for one in range(1, 11)], unit="seconds", definition="time")
    assert (found.value, found.low, found.high) == (5.5, 2.0, 9.0)
    assert median_estimate([3.0, 1.0, 2.0], unit="seconds", definition="time").low is None


def slow_sizes(over: int, *, fits_below: int = 10**9):
    """Return a step that calls the engine's, but does not fit from `fits_below` on, and what sizes it saw."""
    seen: list[int] = []

    def take(task, run, model, optimizer, batch, factor, micro_batch_size):
        seen.append(len(batch))
        loss, fitted = take_step(task, run, model, optimizer, batch, factor, micro_batch_size)
        return loss, fitted if len(batch) < fits_below else over

    return take, seen


def test_sizes_take_turns_and_larger_ones_than_fit_are_left_out():
    take, seen = slow_sizes(4, fits_below=16)
    rows, reason = time_steps(
        Bench(task := blob_task(), run_of(task), take, CPU), [2, 4, 8, 16, 32], repeats=12, most_seconds=9.0
    )
    assert [row.batch_size for row in rows] == [2, 4, 8]
    assert "batch size 16 does not fit" in reason
    assert seen[:10] == [2] * 3 + [4] * 3 + [8] * 3 + [16]
    turns = np.array(seen[10:]).reshape(12, 3, 2)
    assert (turns[..., 0] == turns[..., 1]).all()
    assert (np.sort(turns[..., 0], axis=1) == [2, 4, 8]).all()
    assert len(np.unique(turns[..., 0], axis=0)) > 1
    assert {len(row.repeats) for row in rows} == {12}
    with pytest.raises(ValueError, match="at least 10"):
        time_steps(Bench(task, run_of(task), take, CPU), [2], repeats=9, most_seconds=1.0)


def test_sizes_above_the_first_slow_one_are_left_out():
    rows, reason = time_steps(
        Bench(task := blob_task(), run_of(task), take_step, CPU), [2, 4, 8], repeats=10, most_seconds=0.0
    )
    assert [row.batch_size for row in rows] == [2]
    assert "larger ones were not timed" in reason


def test_a_probe_of_a_small_task_finds_times_and_leaves_the_world_alone():
    task = blob_task()
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    found = probe(task, run_of(task, optimizer=Adam()), take_step=take_step, repeats=10, threads=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert [row.batch_size for row in found.sizes] == [1, 2, 4, 8, 16, 32, 64, 96]
    for row in found.sizes:
        assert 0 < row.seconds.low <= row.seconds.value <= row.seconds.high
        assert row.first_seconds > 0
        assert row.examples_per_second == pytest.approx(row.batch_size / row.seconds.value)
    assert len(found.step_time.points) == 8
    assert (found.accumulation.batch_size, found.accumulation.micro_batch_size) == (96, 24)
    assert found.accumulation.is_same
    document = json.loads(json.dumps(to_json(found), allow_nan=False))
    assert document["optimizer"]["kind"] == "Adam"
    assert document["step_time"]["t0"]["unit"] == "seconds"


def test_batch_sizes_that_cannot_be_trained_are_refused():
    task = blob_task()
    with pytest.raises(ValueError, match="97 cannot be trained: use 1 to 96"):
        probe(task, run_of(task), take_step=take_step, batch_sizes=(4, 97))
    with pytest.raises(ValueError, match="1 cannot be trained: use 2 to 96"):
        probe(normed := blob_task(norm_mlp), run_of(normed), take_step=take_step, batch_sizes=(1, 2))
    assert checked_sizes((), 2, 96) == [2, 4, 8, 16, 32, 64, 96]
    with pytest.raises(ValueError, match="threads=0"):
        probe(task, run_of(task), take_step=take_step, threads=0)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
def test_micro_batches_add_up_to_the_gradient_of_the_batch(dtype, tolerance):
    task = blob_task(l2=0.1)
    found = compare_accumulation(Bench(task, run_of(task, dtype=dtype), take_step, CPU), 64, 20, repeats=3)
    assert 0 <= found.gradient_difference <= tolerance
    assert (found.is_same, found.reason) == (True, None)
    assert found.ratio.low < found.ratio.value < found.ratio.high


def twice_dropped() -> nn.Module:
    """With one random layer a split batch would draw the very same numbers, one piece after the other."""
    return nn.Sequential(nn.Dropout(0.5), *dropout_mlp())


@pytest.mark.parametrize(("model", "word"), [(norm_mlp, "BatchNorm"), (twice_dropped, "dropout")])
def test_a_model_that_micro_batches_change_is_reported(model, word):
    task = blob_task(model)
    found = compare_accumulation(Bench(task, run_of(task), take_step, CPU), 64, 16, repeats=2)
    assert found.gradient_difference > 1e-3
    assert not found.is_same
    assert word in found.reason


def test_a_loss_that_is_divided_by_the_micro_batch_is_caught():
    def wrong(task, run, model, optimizer, batch, factor, micro_batch_size):
        optimizer.zero_grad()
        for inputs, targets in batch.pieces(micro_batch_size):
            task.losses(model(inputs), targets).mean().backward()
        return 0.0, micro_batch_size

    found = compare_accumulation(Bench(task := blob_task(), run_of(task), wrong, CPU), 64, 16, repeats=2)
    assert found.gradient_difference == pytest.approx(3, rel=1e-4)  # four times too large
    assert "neither BatchNorm nor random layers" in found.reason
    with pytest.raises(ValueError, match="must be smaller than the batch"):
        compare_accumulation(Bench(task, run_of(task), wrong, CPU), 16, 16, repeats=2)


def test_gradient_difference_is_relative():
    one = torch.tensor([3.0, 4.0])
    assert gradient_difference(one, one * 1.5) == pytest.approx(0.5)
    assert gradient_difference(torch.zeros(2), one) == 5.0
