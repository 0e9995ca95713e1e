"""Rules against what they keep: closed forms, not their own formulas."""

import json
import math

import numpy as np
import pytest
import torch

import critbatch as cb
from critbatch.randomness import generator
from critbatch.scaling import read_study

ADAMW = {"optimizer": "adamw", "learning_rate": 3e-4, "beta1": 0.9, "beta2": 0.95, "weight_decay": 0.1}
SIZES = [(32, 256), (256, 32), (8, 8), (100, 37)]


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_the_square_root_keeps_the_covariance_of_an_update(old, new):
    found = cb.scale_hyperparameters({"optimizer": "sgd", "lr": 0.1}, from_batch=old, to_batch=new, rule="square_root")
    draws = torch.randn(400_000, 1, generator=generator(0, "draws"), dtype=torch.float64)
    spread = [
        float((rate * draws[: len(draws) // size * size].view(-1, size).mean(1)).var())
        for rate, size in ((0.1, old), (found["learning rate"].after, new))
    ]
    # variances of at least 1,500 draws: standard error of the ratio below 0.04
    assert spread[1] / spread[0] == pytest.approx(1.0, abs=0.16)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_the_linear_rule_keeps_the_temperature_of_the_stationary_state(old, new):
    # noisy quadratic, curvature h, noise c: E theta^2 = rate c/(B h (2 - rate h)), which for small rates is rate/B alone
    found = cb.scale_hyperparameters({"optimizer": "sgd", "lr": 1e-6}, from_batch=old, to_batch=new, rule="linear")
    spread = [rate / (size * (2 - rate)) for rate, size in ((1e-6, old), (found["learning rate"].after, new))]
    assert spread[1] == pytest.approx(spread[0], rel=1e-4)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_with_a_noise_scale_the_rate_is_the_best_of_one_step_on_a_quadratic(old, new):
    # E loss after a step on h/2 theta^2 with noise variance c/B: best rate is (1/h) q/(q + c/B), q = (h theta)^2
    theta, h, c = 2.0, 0.5, 30.0
    q = (h * theta) ** 2
    best = {size: q / (h * (q + c / size)) for size in (old, new)}
    found = cb.scale_hyperparameters(
        {"optimizer": "sgd", "lr": best[old]}, from_batch=old, to_batch=new, noise_scale=c / q
    )
    assert found["learning rate"].after == pytest.approx(best[new], rel=1e-12)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_the_half_life_of_squares_stays_in_examples(old, new):
    found = cb.scale_hyperparameters(ADAMW, from_batch=old, to_batch=new)["beta2"]
    half_lives = [size * math.log(0.5) / math.log(beta) for beta, size in ((found.before, old), (found.after, new))]
    assert half_lives[1] == pytest.approx(half_lives[0], rel=1e-12)


def test_the_published_example_of_the_half_life():
    found = cb.scale_hyperparameters(ADAMW, from_batch=16, to_batch=1)["beta2"]
    assert found.after == pytest.approx(0.99680, abs=5e-6)


@pytest.mark.parametrize("rule", ["linear", "square_root", "fixed"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_the_timescale_of_decoupled_decay_stays_in_examples(old, new, rule):
    found = cb.scale_hyperparameters(ADAMW, from_batch=old, to_batch=new, rule=rule)
    rate, decay = found["learning rate"], found["weight decay"]
    assert new / (rate.after * decay.after) == pytest.approx(old / (rate.before * decay.before), rel=1e-12)


def test_an_average_of_parameters_keeps_its_memory_of_examples():
    found = cb.scale_hyperparameters(ADAMW, from_batch=64, to_batch=256, ema_decay=0.999, warmup_steps=1000, steps=8000)
    assert found["EMA decay"].after == pytest.approx(0.999**4)
    assert found["warm-up steps"].after == 250
    assert found["steps"].after == 2000
    assert "fewer updates" in found["steps"].warning


def test_coupled_decay_stays_and_momentum_stays():
    config = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    found = cb.scale_hyperparameters(config, from_batch=256, to_batch=64)
    assert found["weight decay"].after == 5e-4
    assert found["momentum"].after == 0.9
    assert found["learning rate"].after == pytest.approx(0.025)
    assert any("4 accumulated micro-batches of 64" in one for one in found.lost)


def test_adam_grows_no_further_than_the_noise_scale():
    found = cb.scale_hyperparameters(ADAMW, from_batch=16, to_batch=4096, noise_scale=64)
    assert found["learning rate"].after == pytest.approx(3e-4 * 2)
    assert "above the noise scale 64" in found["learning rate"].warning


def test_outside_a_rules_validity_there_is_a_warning():
    few = cb.scale_hyperparameters(ADAMW, from_batch=16, to_batch=2048)
    assert "forgets half in less than a step" in few["beta2"].warning
    assert "not given" in few["learning rate"].warning
    assert "no source supports" in cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, rule="linear").warnings[0]
    assert (
        "levelled off"
        in cb.scale_hyperparameters({"optimizer": "sgd", "lr": 0.1}, from_batch=2, to_batch=400, noise_scale=100)[
            "learning rate"
        ].warning
    )
    assert cb.scale_hyperparameters(ADAMW, from_batch=64, to_batch=32).warnings == ()


def optimizers():
    some, more = (torch.nn.Parameter(torch.zeros(3)) for _ in range(2))
    groups = [{"params": [some], "lr": 0.01}, {"params": [more], "lr": 0.001, "weight_decay": 0.5}]
    yield torch.optim.SGD(groups, momentum=0.9)
    yield torch.optim.Adam(groups)
    yield torch.optim.AdamW(groups)
    yield torch.optim.RMSprop(groups)
    yield torch.optim.Adafactor(groups)


@pytest.mark.parametrize("optimizer", list(optimizers()), ids=lambda one: type(one).__name__)
def test_it_applies_to_every_group_of_a_real_optimizer_and_back(optimizer):
    before = [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    there = cb.scale_hyperparameters(optimizer, from_batch=32, to_batch=128)
    there.apply(optimizer)
    rate = there["learning rate"]
    for group, old in zip(optimizer.param_groups, before, strict=True):
        assert group["lr"] == pytest.approx(old["lr"] * rate.after / rate.before)
        if "betas" in group:
            assert group["betas"] == pytest.approx((old["betas"][0], old["betas"][1] ** 4))
    cb.scale_hyperparameters(optimizer, from_batch=128, to_batch=32).apply(optimizer)
    for group, old in zip(optimizer.param_groups, before, strict=True):
        assert group["lr"] == pytest.approx(old["lr"], rel=1e-12)
        assert group["weight_decay"] == pytest.approx(old["weight_decay"], rel=1e-12)


def test_decay_is_translated_where_the_first_group_has_none():
    groups = [{"params": [torch.zeros(1)], "weight_decay": 0.0}, {"params": [torch.zeros(1)], "weight_decay": 0.1}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    found = cb.scale_hyperparameters(optimizer, from_batch=16, to_batch=64)
    found.apply(optimizer)
    assert found["weight decay"].before == 0.1
    assert [group["weight_decay"] for group in optimizer.param_groups] == pytest.approx([0.0, 0.2])


def test_a_translation_for_another_optimizer_is_refused_and_changes_nothing():
    sgd, adam = torch.optim.SGD([torch.zeros(1)], lr=0.1), torch.optim.Adam([torch.zeros(1)], lr=0.1)
    before = repr(adam)
    with pytest.raises(ValueError, match="Adam is of the family adam, this translation of sgd"):
        cb.scale_hyperparameters(sgd, from_batch=1, to_batch=2).apply(adam)
    assert repr(adam) == before


class Strange(torch.optim.SGD):
    pass


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=0, to_batch=2), "from_batch=0"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=-2), "to_batch=-2"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, rule="cubic"), "unknown. There are linear"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, rule="surge"), "needs|Give the measured"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, noise_scale=0.0), "noise_scale=0.0"),
        (
            lambda: cb.scale_hyperparameters(ADAMW | {"lr": 0.0}, from_batch=2, to_batch=4),
            "above 0 and finite, got 0.0",
        ),
        (lambda: cb.scale_hyperparameters(ADAMW | {"beta2": 1.0}, from_batch=2, to_batch=4), "beta2 must be in"),
        (lambda: cb.scale_hyperparameters(ADAMW | {"colour": 1}, from_batch=2, to_batch=4), "'colour' is not known"),
        (lambda: cb.scale_hyperparameters({"lr": 1.0}, from_batch=2, to_batch=4), "it needs 'optimizer'"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, ema_decay=1.0), "ema_decay=1.0"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, ghost_size=1), "ghost_size=1"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, steps=0), "steps=0"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, rule="linear", study="x"), "one of the two"),
        (lambda: cb.scale_hyperparameters(ADAMW, from_batch=2, to_batch=4, study="nowhere"), "no study's result.json"),
        (
            lambda: cb.scale_hyperparameters(Strange([torch.zeros(1)], lr=0.1), from_batch=2, to_batch=4),
            "no rule is known for 'strange'",
        ),
    ],
)
def test_wrong_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def study(folder, *, exponent=0.5, points=((8, 0.1), (32, 0.2), (128, 0.25))):
    ends = {"value": exponent, "low": None if exponent is None else exponent - 0.1}
    ends["high"] = None if exponent is None else exponent + 0.1
    rows = [
        {"batch_size": size, "learning_rate": {"value": rate, "low": rate / 2, "high": rate * 2}}
        for size, rate in points
    ]
    rows.append({"batch_size": 512, "learning_rate": {"value": 9.0, "low": 1.0, "high": None}})  # at the grid's edge
    document = {"learning_rate_rule": {"exponent": ends, "points": rows, "reason": "too few batch sizes"}}
    (folder / "result.json").write_text(json.dumps(document))
    return folder


def test_a_measured_rule_counts_before_all_others(tmp_path):
    config = {"optimizer": "sgd", "lr": 0.3}
    inside = cb.scale_hyperparameters(config, from_batch=8, to_batch=128, study=study(tmp_path))["learning rate"]
    assert inside.after == pytest.approx(0.3 * 2.5)
    assert inside.warning == ""
    assert inside.low == pytest.approx(0.3 * 2.5 / 2**2**0.5)  # both rates are known within a factor of 2
    outside = cb.scale_hyperparameters(config, from_batch=8, to_batch=512, study=tmp_path / "result.json")[
        "learning rate"
    ]
    assert outside.after == pytest.approx(0.3 * 8)
    assert "outside the batch sizes that the study resolved (8 to 128)" in outside.warning
    assert outside.low == pytest.approx(0.3 * 64**0.4)
    assert read_study(tmp_path).ratio(32, 8) == pytest.approx((0.5, np.log(2) * 2**0.5))


def test_a_study_without_a_rule_says_why(tmp_path):
    with pytest.raises(ValueError, match="the study found no rule: too few batch sizes"):
        read_study(study(tmp_path, exponent=None))


def test_it_prints_before_after_formula_source_and_warnings():
    text = str(cb.scale_hyperparameters(ADAMW, from_batch=256, to_batch=4096, ghost_size=32, epochs=3))
    for words in ("B = 256", "B = 4096", "rate sqrt(k)", "arXiv:2205.10287", "Warnings", "What is lost", "ghost size"):
        assert words in text


def test_from_a_papers_eight_devices_to_one():
    from typer.testing import CliRunner

    from critbatch.cli import app

    arguments = "scale --optimizer adamw --learning-rate 3e-4 --from-batch 8x32 --to-batch 32 --warmup-steps 500"
    found = CliRunner().invoke(app, arguments.split())
    assert found.exit_code == 0
    assert "8 accumulated micro-batches of 32" in found.output
    document = json.loads(CliRunner().invoke(app, [*arguments.split(), "--json"]).output)
    assert document["from_batch"] == 256
    changes = {one["name"]: one for one in document["changes"]}
    assert changes["warm-up steps"]["after"] == 4000
    assert changes["ghost size"]["after"] == 32
    assert np.isclose(changes["learning rate"]["after"], 3e-4 / 8**0.5)
    assert CliRunner().invoke(app, ["scale", "--from-batch", "8y", "--to-batch", "2"]).exit_code == 2
