"""Laws of the small interfaces, over every file there is: budgets, schedules, samplings, optimizers and more."""

import dataclasses
import itertools
import json
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from critbatch import catalog
from critbatch.budget import Progress
from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.plan import describe
from critbatch.randomness import generator
from critbatch.sampling import LastBatch, Sampling
from tests.problems import blob_task, run_of, small_mlp
from tests.requirements import require_reference

REQUIRED = {
    "epochs": (2.0,),
    "examples": (100,),
    "steps": (10,),
    "seconds": (3.0,),
    "longest": ((Steps(10), Steps(20)),),
}


def make(kind: str, name: str):
    return catalog.load(kind, name)(*REQUIRED.get(name, ())) if kind == "budgets" else catalog.load(kind, name)()


EVERYTHING = [
    (kind, name)
    for kind in (
        "batch_policies",
        "budgets",
        "schedules",
        "samplings",
        "scaling_rules",
        "optimizers",
        "curves",
        "measurements",
    )
    for name in catalog.names(kind)
]


@pytest.mark.parametrize(("kind", "name"), EVERYTHING)
def test_it_is_a_frozen_value_that_can_be_described(kind, name):
    thing = make(kind, name)
    assert thing == make(kind, name)
    assert hash(thing) == hash(make(kind, name))
    assert json.dumps(describe(thing), sort_keys=True) == json.dumps(describe(make(kind, name)), sort_keys=True)
    assert describe(thing)["kind"] == type(thing).__name__
    with pytest.raises(dataclasses.FrozenInstanceError):
        thing.anything = 1
    assert catalog.summary(kind, name)


def at(step: int) -> Progress:
    return Progress(step, step * 8, step * 0.1, 96)


@pytest.mark.parametrize("name", catalog.names("budgets"))
def test_a_budget_starts_unused_and_only_grows(name):
    budget = make("budgets", name)
    used = [budget.used(at(step)) for step in range(0, 400, 5)]
    assert used[0] == 0
    assert all(later >= earlier for earlier, later in itertools.pairwise(used))
    assert used[-1] >= 1


@pytest.mark.parametrize("name", catalog.names("budgets"))
@pytest.mark.parametrize("batch_size", [1, 7, 96])
def test_a_budget_is_spent_by_its_most_steps(name, batch_size):
    budget = make("budgets", name)
    most = budget.most_steps(batch_size, 96)
    if np.isfinite(most):
        assert budget.used(Progress(int(most), int(most) * batch_size, 1e9, 96)) >= 1


@pytest.mark.parametrize("bad", [0, -1, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["epochs", "examples", "steps", "seconds"])
def test_a_budget_of_nothing_is_refused(name, bad):
    with pytest.raises(ValueError, match=f"{name}={bad}".replace("+", r"\+")):
        catalog.load("budgets", name)(bad)


@pytest.mark.parametrize("name", catalog.names("schedules"))
def test_a_schedule_stays_between_zero_and_one(name):
    schedule = make("schedules", name)
    factors = [schedule.factor(used) for used in np.linspace(0, 1, 101)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert max(factors) == 1


@pytest.mark.parametrize("name", catalog.names("samplings"))
@pytest.mark.parametrize("batch_size", [1, 7, 50, 96])
def test_a_sampling_gives_valid_batches_that_depend_on_its_streams_alone(name, batch_size):
    sampling = make("samplings", name)

    def epoch(index: int) -> list[torch.Tensor]:
        return epoch_of(sampling, batch_size, index)

    for number in sampling.changes:
        batches = epoch(number)
        if sampling.steering is not None:  # what is left over is a smaller batch there
            batches = [batch for batch in batches if len(batch) == batch_size]
        (size,) = {len(batch) for batch in batches}
        times, rest = divmod(len(batches), 96 // size)
        assert size <= batch_size
        assert times >= 1
        assert rest == 0
        assert all(int(batch.min()) >= 0 and int(batch.max()) < 96 for batch in batches)
        assert all(torch.equal(one, two) for one, two in zip(batches, epoch(number), strict=sampling.steering is None))
    if batch_size == 1:
        assert torch.equal(torch.cat(epoch(0)), torch.cat(epoch(1))) == (name == "sequential")


def epoch_of(sampling: Sampling, batch_size: int, number: int) -> list[torch.Tensor]:
    streams = {"order": generator(0, "order", number), "base": generator(0, "order base")}
    return list(sampling.epoch(96, batch_size, number=number, **streams))


@pytest.mark.parametrize("name", catalog.names("samplings"))
@pytest.mark.parametrize("batch_size", [1, 7, 50, 96])
def test_a_sampling_says_at_which_epochs_batch_sizes_change(name, batch_size):
    sampling = make("samplings", name)
    assert sampling.changes[0] == 0
    assert list(sampling.changes) == sorted(set(sampling.changes))
    for number in range(max(sampling.changes) + 3):
        last = max(one for one in sampling.changes if one <= number)
        sizes, expected = ([len(batch) for batch in epoch_of(sampling, batch_size, at)] for at in (number, last))
        assert sizes == expected


def test_a_sampling_that_grows_has_its_shares_from_its_epochs_on():
    kind = catalog.load("samplings", "growing")
    sampling = kind((2, 3), (1 / 8, 1 / 2, 1.0))
    assert [len(epoch_of(sampling, 32, number)[0]) for number in range(5)] == [4, 4, 16, 32, 32]
    assert [len(epoch_of(sampling, 32, number)) for number in range(5)] == [24, 24, 6, 3, 3]
    assert len(epoch_of(sampling, 1, 0)) == 96, "never less than one example"
    usual = make("samplings", "reshuffle")
    for number in range(4):
        assert torch.equal(torch.cat(epoch_of(sampling, 32, number)), torch.cat(epoch_of(usual, 32, number)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (((1,), (1.0,)), "need 2 shares"),
        (((0,), (0.5, 1.0)), "whole numbers above 0 that increase"),
        (((3, 3), (0.2, 0.5, 1.0)), "whole numbers above 0 that increase"),
        (((1,), (0.0, 1.0)), "shares must be above 0 and at most 1"),
        (((1,), (0.5, 1.1)), "shares must be above 0 and at most 1"),
        (((1,), (0.5, float("nan"))), "shares must be above 0 and at most 1"),
    ],
)
def test_a_sampling_that_cannot_grow_so_is_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        catalog.load("samplings", "growing")(*bad)


def test_a_repeated_batch_comes_so_often_in_a_row():
    batches = epoch_of(catalog.load("samplings", "repeated")(3), 40, 0)
    usual = epoch_of(make("samplings", "reshuffle"), 40, 0)
    assert len(batches) == 3 * len(usual) == 6
    assert all(torch.equal(batch, usual[at // 3]) for at, batch in enumerate(batches))


@pytest.mark.parametrize("bad", [0, -1])
def test_a_batch_cannot_be_repeated_less_than_once(bad):
    with pytest.raises(ValueError, match="whole number, at least 1"):
        catalog.load("samplings", "repeated")(bad)


@pytest.mark.parametrize("name", ["reshuffle", "with_replacement"])
def test_batch_sizes_cut_one_base_order(name):
    sampling = make("samplings", name)
    orders = [
        torch.cat(list(sampling.epoch(96, size, order=generator(0, "order", 0), base=generator(0, "order base"))))
        for size in (1, 8, 96)
    ]
    assert torch.equal(orders[0], orders[1])
    assert torch.equal(orders[0], orders[2])


@pytest.mark.parametrize("name", ["reshuffle", "partition"])
def test_an_epoch_visits_every_example_once_unless_the_rest_is_dropped(name):
    kind = catalog.load("samplings", name)
    streams = {"order": generator(0, "order", 0), "base": generator(0, "order base")}
    whole = torch.cat(list(kind(LastBatch.WEIGHT).epoch(96, 36, **streams)))
    assert sorted(whole.tolist()) == list(range(96))
    streams = {"order": generator(0, "order", 0), "base": generator(0, "order base")}
    dropped = list(kind(LastBatch.DROP).epoch(96, 60, **streams))
    assert [len(batch) for batch in dropped] == [60]
    assert len(set(dropped[0].tolist())) == 60


def test_a_partition_keeps_its_batches():
    kind = catalog.load("samplings", "partition")
    epochs = [
        {
            tuple(sorted(batch.tolist()))
            for batch in kind().epoch(96, 8, order=generator(0, "order", index), base=generator(0, "order base"))
        }
        for index in (0, 1)
    ]
    assert epochs[0] == epochs[1]


def test_batches_without_replacement_hold_no_example_twice_and_are_uniform():
    sampling = make("samplings", "without_replacement")
    counts = Counter()
    for index in range(200):
        for batch in sampling.epoch(12, 4, order=generator(0, "order", index), base=generator(0, "order base")):
            assert len(set(batch.tolist())) == 4
            counts.update(batch.tolist())
    # 600 batches: each example is in 200 on average, standard deviation 11.5
    assert all(abs(counts[index] - 200) < 60 for index in range(12))


def test_draws_with_replacement_repeat_examples():
    sampling = make("samplings", "with_replacement")
    batch = next(iter(sampling.epoch(96, 96, order=generator(0, "order", 0), base=generator(0, "order base"))))
    # 96 draws hold 61 different examples on average, standard deviation 4
    assert 45 < len(set(batch.tolist())) < 78


@pytest.mark.parametrize("name", catalog.names("scaling_rules"))
def test_a_scaling_rule_is_reversible_and_has_its_exponent(name):
    rule = make("scaling_rules", name)
    bend = 1e12 if rule.bends else None  # so far away that the rule is a power of the batch size
    there = rule.learning_rate(0.1, 32, 512, bend=bend)
    assert rule.learning_rate(there, 512, 32, bend=bend) == pytest.approx(0.1)
    assert np.log(there / 0.1) / np.log(16) == pytest.approx(rule.exponent, abs=1e-6)


@pytest.mark.parametrize("name", [name for name in catalog.names("scaling_rules") if make("scaling_rules", name).bends])
def test_a_rule_that_bends_needs_to_know_where_and_falls_short_of_its_exponent_beyond(name):
    rule = make("scaling_rules", name)
    with pytest.raises(ValueError, match="bends at a noise scale"):
        rule.learning_rate(0.1, 32, 64)
    growth = rule.learning_rate(0.1, 3200, 51200, bend=32.0) / 0.1
    assert growth < 1.1 < 16**rule.exponent


@pytest.mark.parametrize("name", catalog.names("optimizers"))
def test_an_optimizer_trains(name):
    task = blob_task()
    optimizer = make("optimizers", name)
    require_reference(optimizer)
    rate = 8 * optimizer.first_learning_rate
    result = train_run(
        task, run_of(task, optimizer=optimizer, learning_rate=rate, budget=Steps(150)), torch.device("cpu")
    )
    losses = result.records.filter(result.records["quantity"] == "train_loss")["value"]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    ("name", "bad"),
    [
        ("proximal", {"inner_steps": 0}),
        ("proximal", {"strength": -0.1}),
        ("proximal", {"strength": float("inf")}),
        ("block_sequential", {"blocks": 0}),
    ],
)
def test_a_rule_of_several_steps_refuses_what_makes_no_sense(name, bad):
    with pytest.raises(ValueError, match="must be a whole number, at least 1"):
        catalog.load("optimizers", name)(**bad)


@pytest.mark.parametrize("bad", [{"momentum": 1.0}, {"momentum": -0.1}, {"weight_decay": -1}, {"nesterov": True}])
def test_sgd_refuses_what_makes_no_sense(bad):
    with pytest.raises(ValueError, match="SGD"):
        catalog.load("optimizers", "sgd")(**bad)


def rectified() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))


def linear() -> nn.Module:
    return nn.Linear(4, 3, bias=False)


SPECIAL = {"rescaled_sharpness": rectified, "steady_state": rectified, "minimum_norm_distance": linear}  # their models
QUICK = {"steady_state": {"epochs": 400, "burn_in": 0, "draws": 2}, "noise_persistence": {"epochs": 2}}


@pytest.mark.parametrize("name", catalog.names("measurements"))
def test_a_measurement_records_its_quantities_at_its_looks(name):
    task = blob_task(SPECIAL.get(name, small_mlp))
    measurement = catalog.load("measurements", name)(**QUICK.get(name, {}))
    result = train_run(task, run_of(task, measurements=(measurement,), budget=Steps(30)), torch.device("cpu"))
    for quantity in measurement.quantities:
        rows = result.records.filter(result.records["quantity"] == quantity)
        assert len(rows) >= max(measurement.looks_per_decade, 1)
        assert np.isfinite(rows["value"].to_numpy()).all()
