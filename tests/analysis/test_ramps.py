"""Policies beside the best fixed batch size, in worlds where the answer is known."""

import numpy as np
import pytest

import critbatch as cb
from critbatch.analysis.grid import Track
from critbatch.analysis.ramps import _adjusted, _Cell, _compared, _sentence, costs_to_target, time_model
from critbatch.record import Ending
from tests.made_up_sweeps import facts
from tests.problems import blob_task

SEEDS = tuple(range(8))


def cell(arm: str, ratio: float, noise: float, seed: int = 0) -> _Cell:
    """Return runs that take `ratio` times the cost of a fixed batch, which differs from seed to seed."""
    shared, own = np.random.default_rng(0), np.random.default_rng((seed, 1))
    costs = {number: np.full(3, ratio * np.exp(shared.normal(0, 0.5) + own.normal(0, noise))) for number in SEEDS}
    return _Cell(arm, 16, 0.5, costs)


def answer(ratio: float, control: float, noise: float = 0.05, seed: int = 0) -> str:
    fixed = cell("fixed", 1.0, noise, 100 + seed)
    chosen = {"Seesaw": cell("Seesaw", ratio, noise, seed), "StepDecay": cell("StepDecay", control, noise, 50 + seed)}
    arms = _adjusted([_compared(arm, one, fixed, SEEDS, 14, 0.95) for arm, one in chosen.items()])
    return _sentence(arms, chosen, fixed, SEEDS, 0.95)


@pytest.mark.parametrize("seed", range(5))
def test_a_ramp_that_saves_time_is_found_and_one_that_does_not_is_refused(seed):
    assert answer(0.7, 1.0, seed=seed).startswith("yes: a batch that grows took 0.")
    assert answer(0.7, 1.0, seed=seed).endswith("times those of cutting the learning rate alone")
    assert answer(1.4, 1.0, seed=seed).startswith("no: every policy was slower")


def test_a_silent_world_is_seldom_called_anything():
    said = [answer(1.0, 1.0, noise=0.3, seed=seed) for seed in range(100)]
    assert sum(not one.startswith("not that this study could tell") for one in said) <= 10  # 5 expected


def test_a_gain_that_a_cut_of_the_rate_alone_gives_too_is_seldom_credited_to_the_batch():
    said = [answer(0.6, 0.6, noise=0.05, seed=seed) for seed in range(100)]
    assert all(one.startswith("yes: ") for one in said)
    assert sum(not one.endswith("not told apart") for one in said) <= 10  # 5 expected


def test_an_arm_that_never_arrived_has_no_ratio():
    fixed = cell("fixed", 1.0, 0.1)
    late = _Cell("Ramp", 16, 0.5, {seed: np.full(3, np.inf if seed == 3 else 1.0) for seed in SEEDS})
    found = _compared("Ramp", late, fixed, SEEDS, 14, 0.95)
    assert found.seconds.value is None
    assert "7 of 8 pairs" in found.seconds.reason
    assert found.p_value == 1.0
    assert _compared("Ramp", None, fixed, SEEDS, 14, 0.95).batch_size is None
    assert "no policy reached the target" in _sentence([found], {"Ramp": late}, fixed, SEEDS, 0.95)


def test_the_time_model_recovers_a_line_and_never_goes_below_zero():
    sizes = (1, 8, 64, 512)
    assert time_model({size: 3e-4 + 2e-6 * size for size in sizes}) == pytest.approx((3e-4, 2e-6))
    assert min(time_model({size: 1e-3 / size for size in sizes})) >= 0


def test_costs_are_those_of_a_batch_that_grows():
    # 10 steps of 4 examples, then 10 of 16; the target is crossed between the last two looks
    steps = np.array([0.0, 10.0, 12.0, 20.0, 21.0, 22.0, 23.0, 24.0, 25.0])
    examples = np.where(steps <= 10, 4 * steps, 40 + 16 * (steps - 10))
    values = {"validation_accuracy": np.array([0.1, 0.5, 0.8, 0.95, 0.96, 0.97, 0.97, 0.97, 0.97])}
    track = Track(Ending.BUDGET, steps, examples, np.zeros(9), values)
    spent, taken, seen = costs_to_target(track, facts(), (1.0, 0.1))
    assert 12 < taken <= 20
    assert 72 < seen <= 200
    assert 12 + 7.2 < spent <= 20 + 20
    assert np.isinf(costs_to_target(track, facts(target_value=0.99), (1.0, 0.1))).all()


def test_a_sweep_with_ramps_answers(tmp_path):
    task = blob_task()
    found = cb.run(
        task, batch_sizes=[2, 8, 16], learning_rates=[0.05, 0.2, 0.5], seeds=2, budget=cb.Epochs(4), ramps=True, progress=False,
        out=tmp_path, target=cb.Target("train_loss", 0.3),
    ).finding  # fmt: skip
    assert found.ramps is not None
    assert {one.policy for one in found.ramps.arms} >= {"Ramp", "Seesaw", "StepDecay", "NormTest"}
    assert all(row.runs for row in found.batch_sizes)
    assert sum(row.runs for row in found.batch_sizes) < sum(found.endings.values())
