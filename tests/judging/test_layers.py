"""What layers know, as judges read it: arithmetic on courses known in closed form, and the runs that are asked for."""

import numpy as np
import pytest

from critbatch.claim import Outcome
from critbatch.claims import registry
from critbatch.claims.shwartz_ziv2017 import changes
from critbatch.judging.layers import (
    HIDDEN,
    ORDERS,
    REBINNED,
    RELU,
    TANH,
    Course,
    gradient_ratios,
    information,
    made_up_layers,
    mean_compression,
    twelve_bit_bed,
)
from critbatch.judging.worlds import exhibit_from
from critbatch.measurements.gradient_ratio import GradientRatio
from critbatch.sampling import LastBatch
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.samplings.sequential import Sequential

LAYERS = len(HIDDEN["full"])
FALLS = np.array([0.0, 0.4, 1.0, 2.0, 3.0])


def exhibit(name: str, values):
    claim = registry()[name]
    facts = {role: bed.facts() for role, bed in claim.beds("full").items()}
    return exhibit_from(claim, facts, "full", values)


def test_compression_and_onset_are_what_was_planted():
    seen = exhibit("SZ-2", lambda arm, run, looks: made_up_layers(looks, FALLS + 0.1 * run.seed, TANH, onset=1000.0))
    found = information(seen, "shuffled", TANH)
    assert list(found) == list(range(10))
    assert found[3].compression == pytest.approx(FALLS + 0.3, abs=0.25)  # smoothing cuts the tip off: a look's fall
    assert np.abs(np.log10(found[3].onset[1:]) - 3).max() < 0.15
    assert mean_compression(found)[3] == pytest.approx(FALLS.mean() + 0.3, abs=0.2)
    assert information(seen, "shuffled", REBINNED) == {}


def test_runs_that_diverged_or_lack_looks_are_left_out():
    def values(arm, run, looks):
        if run.seed == 0:
            return None
        found = made_up_layers(looks, FALLS, TANH)
        if run.seed == 1:
            found = {name: np.full(len(looks), np.nan) for name in found}
        return found | {"train_loss": 0.1}

    assert list(information(exhibit("SZ-2", values), "shuffled", TANH)) == list(range(2, 10))


def planted_ratios(drop: float):
    measurement = GradientRatio(layers=LAYERS + 1)

    def values(arm, run, looks):
        found = {}
        for layer in range(1, LAYERS + 2):
            mean, deviation = measurement.names(layer)
            fall = drop * (looks > 100 * layer)
            found |= {mean: 0.5 * 10.0**-fall, deviation: np.where(looks < 2, 0.0, 2.0)}
        return found

    return values


def test_gradient_ratios_change_where_they_were_made_to():
    found = gradient_ratios(exhibit("SZ-1", planted_ratios(1.5)), "as released")
    assert found[0].steps.min() >= 2  # looks without scatter are left out
    for layer, one in enumerate(changes(found[0]), 1):
        assert one.drop == pytest.approx(1.5)
        assert found[0].steps[one.place - 1] <= 100 * layer < found[0].steps[one.place]


@pytest.mark.parametrize(("drop", "outcome"), [(1.1, Outcome.SUPPORTED), (0.9, Outcome.REFUTED)])
def test_the_ratio_has_to_fall_tenfold(drop, outcome):
    claim = registry()["SZ-1"]
    assert claim.judge(exhibit("SZ-1", planted_ratios(drop))).outcome is outcome


def test_too_few_looks_have_no_change_point():
    assert changes(Course(np.arange(1, 6), np.ones((3, 5)))) == []


def test_three_layers_have_to_forget_not_one_of_them_much():
    def values(arm, run, looks):
        return made_up_layers(looks, np.array([0.0, 0.0, 0.1, 4.0, 5.0]), TANH) | {"train_loss": 0.1}

    assert registry()["SZ-2"].judge(exhibit("SZ-2", values)).outcome is Outcome.REFUTED


def test_the_order_as_released_decides_nothing():
    def values(arm, run, looks):
        return made_up_layers(looks, FALLS * (4.0 if arm == "as released" else 0.0), TANH) | {"train_loss": 0.1}

    verdict = registry()["SZ-2"].judge(exhibit("SZ-2", values))
    assert [part.outcome for part in verdict.parts] == [Outcome.REFUTED, Outcome.SUPPORTED]
    assert verdict.outcome is Outcome.REFUTED


def test_arms_differ_in_order_alone_and_share_their_runs():
    claim, other = registry()["SZ-1"], registry()["SAX-4"]
    plans = claim.arms("full", {role: bed.facts() for role, bed in claim.beds("full").items()})
    assert [plans[order].runs[0].sampling for order in ORDERS] == [
        Reshuffle(LastBatch.WEIGHT), Sequential(LastBatch.WEIGHT),
    ]  # fmt: skip
    for order, plan in plans.items():
        *planes, ratio = plan.runs[0].measurements
        assert all(one.everything for one in planes)
        assert ratio.shuffled == (order == "shuffled")
        assert ratio.last_batch is LastBatch.WEIGHT
    assert {plan.runs[0].task for plan in plans.values()} == {twelve_bit_bed("full", order).name for order in ORDERS}
    more = other.arms("full", {role: bed.facts() for role, bed in other.beds("full").items()})
    assert {run.id for run in more["tanh 80% shuffled"].runs} == {run.id for run in plans["shuffled"].runs}
    assert all(len({run.seed for run in plan.runs}) == 10 for plan in more.values())


def test_no_link_needs_all_four_kinds_of_network():
    def world(overfit_share: float):
        def values(arm, run, looks):
            drawn = np.random.default_rng([run.seed, "tanh" in arm, "30%" in arm])
            test = 0.9 - 0.2 * ("30%" in arm) * (run.seed < 10 * overfit_share) + 0.001 * drawn.normal()
            bins = TANH if "tanh" in arm else RELU
            falls = np.full(LAYERS, 2.0 if run.seed % 2 else 0.0) + 0.1 * drawn.random(LAYERS)
            return {"train_accuracy": 0.91, "test_accuracy": test} | made_up_layers(looks, falls, bins)

        return values

    claim = registry()["SAX-4"]
    assert claim.judge(exhibit("SAX-4", world(1.0))).outcome is Outcome.SUPPORTED
    assert claim.judge(exhibit("SAX-4", world(0.0))).outcome is Outcome.INCONCLUSIVE


def test_dead_networks_of_relu_units_are_told_apart():
    def values(arm, run, looks):
        dead = arm.startswith("relu") and run.seed < 4
        bins = RELU if arm.startswith("relu") else TANH
        falls = np.full(LAYERS, 0.0 if dead else 2.0 + 0.01 * run.seed)
        return {"train_accuracy": 0.52 if dead else 0.99} | made_up_layers(looks, falls, bins)

    parts = {part.name: part for part in registry()["SAX-1"].judge(exhibit("SAX-1", values)).parts}
    assert parts["shuffled: tanh forgets more than ReLU"].effect.value == pytest.approx(0.8, abs=0.1)
    alive = parts["shuffled: tanh forgets more than ReLU, where ReLU learned"]
    assert alive.effect.count == 6
    assert alive.effect.value == pytest.approx(0.0, abs=1e-9)
