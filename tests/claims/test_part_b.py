"""What is special in the claims on minima and noise: protocols, and judges' arithmetic against plain loops."""

import math

import numpy as np
import pytest

from critbatch.bed import Bed
from critbatch.beds import build
from critbatch.budget import Progress
from critbatch.claim import Outcome
from critbatch.claims import registry
from critbatch.claims.jastrzebski2017 import exponents
from critbatch.claims.keskar2016_threshold import broken
from critbatch.claims.smith_le2018 import is_resolved, proportional
from critbatch.judging.fixed_rate import by_halves
from critbatch.judging.worlds import exhibit_from, exhibit_in


def plans(name: str, scale: str = "full") -> dict:
    claim = registry()[name]
    return claim.arms(scale, {role: bed.facts() for role, bed in claim.beds(scale).items()})


@pytest.mark.parametrize("other", ["KES-1", "KES-2", "DIN-2"])
def test_claims_about_the_two_regimes_share_their_runs(other):
    for arm in ("small", "large"):
        ids = {run.id for run in plans("KES-6")[arm].runs}
        assert ids == {run.id for run in plans(other)[arm].runs}
        assert len(ids) == 8


def test_a_warm_start_has_the_same_rate_in_both_parts():
    for arm, plan in plans("KES-5").items():
        warm = int(arm.split()[0])
        run = plan.runs[0]
        if not warm:
            assert run.learning_rate == pytest.approx(1e-3)
            continue
        for epoch in (0, warm - 1, warm, warm + 99):
            share = run.sampling.shares[sum(one <= epoch for one in run.sampling.epochs)]
            used = run.budget.used(Progress(0, epoch * 2000, 0.0, 2000))
            assert run.learning_rate * run.schedule.factor(used) * share == pytest.approx(1e-3), (arm, epoch)
            assert round(share * run.batch_size) == (25 if epoch < warm else 200)


def test_regimes_that_do_not_fit_leave_the_gap_open():
    claim = registry()["KES-1"]
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    imagined = claim.imagine("true", np.random.default_rng(0))
    exhibit = exhibit_from(claim, facts, "full", lambda *asked: {**imagined(*asked), "train_accuracy": 0.9})
    assert claim.judge(exhibit).outcome is Outcome.INCONCLUSIVE


def test_a_broken_line_is_the_best_of_all_breaks():
    drawn = np.random.default_rng(1)
    logs = np.arange(4.0, 11.0)
    truth = -0.3 * np.maximum(logs - 7, 0)
    values = truth + drawn.normal(size=(6, 1)) + 0.05 * drawn.normal(size=(6, 7))
    found = broken(logs, values)
    squares = {}
    for place in [None, *range(1, 6)]:
        rows, wanted = [], []
        for seed in range(6):
            for x, y in zip(logs, values[seed], strict=True):
                dummies = [float(seed == one) for one in range(6)]
                rows.append([*dummies, x, *([] if place is None else [max(x - logs[place], 0)])])
                wanted.append(y)
        design, y = np.array(rows), np.array(wanted)
        squares[place] = ((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2).sum()

    def criterion(total: float, parameters: int) -> float:
        fitted = parameters + 1
        return 42 * math.log(total / 42) + 2 * fitted + 2 * fitted * (fitted + 1) / (42 - fitted - 1)

    best = min(range(1, 6), key=squares.__getitem__)
    assert found.place == best == 3
    assert found.delta == pytest.approx(criterion(squares[None], 7) - criterion(squares[best], 9), rel=1e-6)


def test_exponents_of_a_planted_law():
    rates, sizes = (one.ravel() for one in np.meshgrid([0.1, 0.2, 0.4], [8.0, 16.0, 64.0]))
    drawn = np.random.default_rng(2)
    exact = 3.0 * rates**-0.7 * sizes**0.4 * np.exp(drawn.normal(size=(5, 1)))
    exact[0, 4] = np.nan
    found = exponents(rates, sizes, exact)
    np.testing.assert_allclose(found.rate, -0.7, rtol=1e-9)
    np.testing.assert_allclose(found.size, 0.4, rtol=1e-9)
    exact[1, 3:] = np.nan
    assert len(exponents(rates, sizes, exact).rate) == 4  # a seed with three points does not count


def test_each_half_of_the_seeds_chooses_for_the_other():
    drawn = np.random.default_rng(3)
    scores, values = drawn.normal(size=(7, 4)), drawn.normal(size=(7, 4))
    for seed, found in enumerate(by_halves(scores, values)):
        others = [scores[other] for other in range(7) if (other - seed) % 2]
        assert found == values[seed, int(np.argmax(np.mean(others, 0)))]


SIZES = [2**power for power in range(10)]


def curves(slope: float, noise: float, drawn: np.random.Generator) -> dict[float, tuple[list[int], np.ndarray]]:
    logs = np.log2(SIZES)
    return {
        2.0**x: (SIZES, 0.9 - 0.002 * (logs - 4.5 - slope * x) ** 2 + noise * drawn.normal(size=(8, 10)))
        for x in (-2, -1, 0, 1, 2)
    }  # fmt: skip


def test_the_slope_of_the_best_batch_size_is_covered():
    """60 sets: were the interval of 95 % too narrow by half, it would cover 67 %; 85 % or fewer have a chance of 0.4 %."""
    drawn = np.random.default_rng(4)
    parts = [proportional("", curves(0.7, 0.002, drawn), definition="")[0] for _ in range(60)]
    covered = [one.effect.low <= 0.7 <= one.effect.high for one in parts]
    assert np.mean(covered) > 0.85
    assert np.mean([one.effect.value for one in parts]) == pytest.approx(0.7, abs=0.03)
    assert {one.outcome for one in parts} == {Outcome.REFUTED}  # 1 is far outside


def test_a_best_batch_size_that_is_not_resolved_is_left_out():
    drawn = np.random.default_rng(5)
    assert not is_resolved((SIZES, 0.05 * drawn.normal(size=(8, 10))))
    rising = 0.9 + 0.01 * np.log2(SIZES) + 0.001 * drawn.normal(size=(8, 10))
    assert not is_resolved((SIZES, rising))
    part, notes = proportional("", {1.0: (SIZES, rising), 2.0: (SIZES, rising)}, definition="")
    assert part.outcome is Outcome.INCONCLUSIVE
    assert "0 of 2" in (part.effect.reason or "")
    assert not notes


def test_memorized_share_is_read_where_it_crosses():
    claim = registry()["JAS-3"]
    verdict = claim.judge(exhibit_in(claim, "true", 1))
    slope = verdict.parts[0].effect.value
    assert slope == pytest.approx(0.003, abs=0.001)  # planted


def test_a_draw_is_another_training_set_of_the_same_kind():
    plain = {"data": "digits", "train": 60, "hidden": (), "side": 8, "classes": 2}
    usual, other = build(Bed(**plain)), build(Bed(**plain, draw=1))
    assert usual.name == build(Bed(**plain, draw=0)).name != other.name
    assert len(usual.train) == len(other.train) == 60
    assert not (usual.train.inputs == other.train.inputs).all()
    assert (usual.test.inputs == other.test.inputs).all()
