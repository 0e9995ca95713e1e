"""What policies decide, against the formulas of their papers."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch

import critbatch as cb
from critbatch import catalog
from critbatch.batch_policy import Seen, Setting
from critbatch.engine.sequential import train_run
from critbatch.noise import adascale_gain, cabs_batch_size, noise_scale
from critbatch.plan import sweep
from critbatch.sampling import LastBatch
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.schedules.constant import Constant
from tests.problems import blob_task

SEEN = Seen(first=8, most=1000, now=Setting(8), step=10, examples=80, learning_rate=0.1)


def seen(**changes):
    return dataclasses.replace(SEEN, **changes)


def noisy(generator, trace, square, count, size):
    """Return made-up moments with the spread that 8 pieces of a batch give."""
    traces = trace * generator.chisquare(7, count) / 7
    return {"traces": tuple(traces), "squared_norms": tuple(square + trace / size * generator.normal(0, 0.3, count))}


@pytest.mark.parametrize("name", catalog.names("batch_policies"))
def test_a_policy_says_nothing_that_cannot_be_trained(name):
    policy = catalog.load("batch_policies", name)()
    generator = np.random.default_rng(0)
    for size, examples in itertools.product((1, 2, 8, 900, 1000), (0, 100, 10**6)):
        now = policy.start(size, 1000)
        assert 1 <= now.batch_size <= 1000
        told = seen(first=size, now=now, examples=examples, loss=0.5, **noisy(generator, 50.0, 0.01, 20, size))
        found = policy.decide(told)
        assert 1 <= found.batch_size <= 1000
        assert 0 < found.factor < 1e4
    assert (
        policy.decide(seen(now=policy.start(8, 1000), examples=0)) == policy.start(8, 1000) or not policy.observations
    )


@pytest.mark.parametrize("name", catalog.names("batch_policies"))
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_training_that_diverges_does_not_break_a_policy(name, bad):
    policy = catalog.load("batch_policies", name)()
    for traces in ((1.0, bad), (bad, bad), (1e100, 1e100)):
        told = seen(now=policy.start(8, 1000), loss=bad, learning_rate=bad, traces=traces, squared_norms=(1.0, 1.0))
        assert 1 <= policy.decide(told).batch_size <= 1000


@pytest.mark.parametrize("name", catalog.names("batch_policies"))
def test_without_measurements_nothing_moves_that_needs_them(name):
    policy = catalog.load("batch_policies", name)()
    if policy.observations:
        assert policy.decide(seen(now=Setting(32, 1.5))) == Setting(32, 1.5)


def test_a_ramp_grows_where_it_says():
    ramp = cb.Ramp(examples=(100, 200), multiples=(2, 400), exponent=0.5)
    assert ramp.decide(seen(examples=99)) == SEEN.now
    assert ramp.decide(seen(examples=100)) == Setting(16, 2**0.5)
    assert ramp.decide(seen(examples=200)) == Setting(1000, 125**0.5)  # the largest that is allowed


@pytest.mark.parametrize("policy", [cb.InsteadOfDecay((100, 200, 300), 4.0), cb.StepDecay((100, 200, 300), 4.0)])
@pytest.mark.parametrize("examples", [0, 150, 250, 1000])
def test_growth_instead_of_decay_does_the_same_to_the_temperature(policy, examples):
    found = policy.decide(seen(examples=examples, most=200))
    assert found.factor / found.batch_size == pytest.approx(4.0 ** -sum(examples >= at for at in (100, 200, 300)) / 8)


@pytest.mark.parametrize("examples", [0, 150, 250, 1000])
def test_seesaw_keeps_rate_over_root_of_batch_size_on_the_schedule(examples):
    found = cb.Seesaw((100, 200, 300), 2.0).decide(seen(examples=examples, most=40))
    decay = 2.0 ** -sum(examples >= at for at in (100, 200, 300))
    assert found.factor / (found.batch_size / 8) ** 0.5 == pytest.approx(decay)


def test_the_norm_test_asks_for_the_batch_at_which_it_holds():
    policy = cb.NormTest(theta=0.5, growth=1e9, exponent=0.0)
    found = policy.decide(seen(traces=(60.0, 100.0), squared_norms=(1.0, -0.5)))
    square = 0.25 + 80 / 8
    assert found.batch_size == round(80 / (0.25 * square))
    assert policy.decide(seen(now=Setting(64), traces=(80.0,), squared_norms=(50.0,))) == Setting(64)


def test_the_controlled_batch_ignores_what_is_not_resolved():
    policy = cb.NoiseControlled()
    generator = np.random.default_rng(1)
    unresolved = noisy(generator, 100.0, 0.0, 20, 8)
    assert noise_scale(*map(np.array, unresolved.values()), level=policy.level).value is None
    assert policy.decide(seen(**unresolved)) == SEEN.now
    clear = noisy(generator, 800.0, 100.0, 20, 8)
    assert policy.decide(seen(**clear)) == SEEN.now  # the noise scale is 8: inside the band
    large = {"traces": tuple(one * 20 for one in clear["traces"]), "squared_norms": clear["squared_norms"]}
    assert policy.decide(seen(**large)) == Setting(16, 2**0.5)
    assert policy.decide(seen(now=Setting(64, 1.0), **clear)) == Setting(32, 2.0)


def test_the_controlled_batch_follows_a_noise_scale_without_flapping():
    policy = cb.NoiseControlled()
    generator = np.random.default_rng(2)
    now, sizes = Setting(8), []
    for _ in range(60):
        now = policy.decide(seen(now=now, **noisy(generator, 640.0, 5.0, 20, now.batch_size)))
        sizes.append(now.batch_size)
    assert 32 <= sizes[-1] <= 256  # the noise scale is 128, the band a factor of two
    assert len(set(sizes[10:])) <= 2


def test_cabs_is_the_house_view_of_the_same_moments():
    moments = (40.0, 60.0, 50.0)
    wanted = cabs_batch_size(np.array(moments), learning_rate=0.1, loss=0.4).value
    found = cb.CABS(floor=0.1, growth=1e9).decide(seen(loss=0.5, traces=moments, squared_norms=(1.0, 1.0, 1.0)))
    assert found == Setting(round(wanted), 1.0)
    assert cb.CABS(floor=0.5).decide(seen(loss=0.5, traces=moments, squared_norms=(1.0, 1.0, 1.0))) == SEEN.now


@pytest.mark.parametrize("square", [1e-6, 1.0, 1e6])
def test_adascale_is_the_house_view_of_the_same_moments(square):
    policy = cb.AdaScale(multiple=4)
    now = policy.start(8, 1000)
    moments = {"traces": (90.0, 110.0), "squared_norms": (square, square)}
    scale = noise_scale(np.array([99.0, 101.0]), np.array([square * 0.99, square * 1.01]))
    wanted = adascale_gain(scale, batch_size=8, count=4).value
    found = policy.decide(seen(now=now, **moments))
    assert (found.batch_size, found.factor) == (32, pytest.approx(wanted, rel=1e-6))
    assert policy.decide(seen(now=now, traces=(100.0,), squared_norms=(-1.0,))) == Setting(32, 4.0)  # saturated


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cb.Ramp(examples=()), "whole numbers above 0 that increase"),
        (lambda: cb.Ramp(examples=(5, 5), multiples=(2, 4)), "whole numbers above 0 that increase"),
        (lambda: cb.Ramp(examples=(5,), multiples=(2, 4)), "one for each of the 1"),
        (lambda: cb.StepDecay(factor=1.0), "factor must be above 1"),
        (lambda: cb.InsteadOfDecay(factor=0.5), "factor must be above 1"),
        (lambda: cb.Seesaw(factor=0.0), "factor must be above 1"),
        (lambda: cb.NormTest(theta=1.0), "theta must be in"),
        (lambda: cb.NormTest(every=5, looks=6), "at most the interval, got 6 in 5"),
        (lambda: cb.NoiseControlled(hysteresis=1.0), "hysteresis and growth above 1"),
        (lambda: cb.NoiseControlled(looks=1), "at least 2"),
        (lambda: cb.CABS(growth=1.0), "growth must be above 1"),
        (lambda: cb.AdaScale(multiple=1.0), "multiple must be above 1"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def steered(task, policy, **changes):
    facts = {
        "batch_sizes": [4],
        "learning_rates": [0.1],
        "seeds": [0],
        "optimizer": cb.SGD(momentum=0.9),
        "dtype": "float64",
    }
    facts |= {"schedule": Constant(), "sampling": cb.Steered(policy), "budget": cb.Epochs(3)} | changes
    return sweep(task, **facts).runs[0]


def test_looking_at_the_noise_changes_no_number_of_a_training():
    task = blob_task()
    still = cb.NoiseControlled(hysteresis=1e9, every=5, looks=5)
    never = cb.Ramp(examples=(10**9,))
    found = [train_run(task, steered(task, policy), torch.device("cpu")) for policy in (still, never)]
    tables = [one.records.drop("seconds", "run", strict=False) for one in found]
    assert tables[0].equals(tables[1])


def test_a_run_takes_whole_batches_of_the_size_that_holds_and_uses_every_example():
    task = blob_task()
    count = len(task.train)
    run = steered(task, cb.Ramp(examples=(count,), multiples=(4,)), budget=cb.Epochs(2))
    found = train_run(task, run, torch.device("cpu"))
    assert found.examples == 2 * count
    assert found.steps == -(-count // 4) + -(-count // 16)
    sizes = found.records.filter(found.records["quantity"] == "batch_size")
    assert set(sizes["value"]) == {4.0, 16.0}


def test_a_policy_that_never_acts_is_the_plain_loop():
    task = blob_task()
    sampling = Reshuffle(last_batch=LastBatch.WEIGHT)
    runs = [steered(task, cb.Ramp(examples=(10**9,))), steered(task, cb.Ramp(), sampling=sampling)]
    tables = [train_run(task, run, torch.device("cpu")).records for run in runs]
    kept = tables[0].filter(~tables[0]["quantity"].is_in(["batch_size", "learning_rate_factor"]))
    assert kept.drop("seconds", "run", strict=False).equals(tables[1].drop("seconds", "run", strict=False))
