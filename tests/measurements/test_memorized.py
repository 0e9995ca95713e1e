"""Memorised labels: planted answers, a naive twin on a trained model, and what cannot be told."""

import dataclasses
import math

import pytest
import torch
from torch import nn

from critbatch.bed import DIGITS
from critbatch.beds import build, relabelled
from critbatch.budgets.steps import Steps
from critbatch.engine.sequential import train_run
from critbatch.measurement import Snapshot
from critbatch.measurements.memorized import Memorized
from tests.problems import run_of

SHARE = 0.25
CLEAN = dataclasses.replace(DIGITS, train=200, hidden=(16,))


class _Answers(nn.Module):
    """Gives each example, whose only input is its number, the class that is written down for it."""

    def __init__(self, answers: torch.Tensor) -> None:
        super().__init__()
        self.answers = answers

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return nn.functional.one_hot(self.answers[inputs[:, 0].long()], 10).float()


def seen(answers: torch.Tensor, targets: torch.Tensor, share: float = SHARE) -> tuple[float, float]:
    numbers = torch.arange(len(targets)).float()[:, None]
    snapshot = Snapshot(
        task=build(CLEAN), model=_Answers(answers), inputs=numbers, targets=targets, population=len(targets), batch_size=4,
        learning_rate=0.1, generator=torch.Generator(),
    )  # fmt: skip
    found = Memorized(random_labels=share).measure(snapshot)
    return found["memorized"], found["clean_train_accuracy"]


def test_planted_answers_are_counted_among_the_labels_that_were_drawn_and_among_the_others():
    targets = torch.randint(10, (5000,), generator=torch.Generator().manual_seed(0))  # more than one chunk
    drawn = relabelled(5000, SHARE)
    rest = torch.tensor(sorted(set(range(5000)) - set(drawn.tolist())))
    assert (len(drawn), len(rest)) == (1250, 3750)
    wrong = (targets + 1) % 10
    assert seen(targets, targets) == (1.0, 1.0)
    assert seen(wrong, targets) == (0.0, 0.0)
    answers = wrong.clone()
    answers[drawn[:500]] = targets[drawn[:500]]
    answers[rest[:3000]] = targets[rest[:3000]]
    assert seen(answers, targets) == (0.4, 0.8)


def test_the_true_labels_are_memorised_as_often_as_a_draw_falls_on_them_and_are_all_right_elsewhere():
    task, truth = build(dataclasses.replace(CLEAN, random_labels=0.5)), build(CLEAN)
    memorized, clean = seen(truth.train.targets, task.train.targets, 0.5)
    assert clean == 1.0
    # 100 draws from ten classes: 0.1 +- 0.03; one label in the wrong group would make `clean` less than 1
    assert 0.02 < memorized < 0.2


def test_a_trained_models_numbers_are_those_of_a_naive_loop():
    task, truth = build(dataclasses.replace(CLEAN, random_labels=0.5)), build(CLEAN)
    model = task.initialise(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(60):
        optimizer.zero_grad()
        task.losses(model(task.train.inputs), task.train.targets).mean().backward()
        optimizer.step()
    run = run_of(
        task, batch_size=200, learning_rate=0.5, budget=Steps(60), measurements=(Memorized(random_labels=0.5),)
    )  # fmt: skip
    rows = train_run(task, run, torch.device("cpu")).records
    found = {
        name: rows.filter((rows["quantity"] == name) & (rows["step"] == 60))["value"].item()
        for name in ("memorized", "clean_train_accuracy")
    }
    answers = model(task.train.inputs).argmax(1).tolist()
    labels, true = task.train.targets.tolist(), truth.train.targets.tolist()
    right = [one == label for one, label in zip(answers, labels, strict=True)]
    # Labels that differ from the true ones were surely drawn; the others of the drawn are found by their number
    changed = [at for at in range(200) if labels[at] != true[at]]
    drawn = set(relabelled(200, 0.5).tolist())
    assert set(changed) <= drawn
    assert found["memorized"] == pytest.approx(sum(right[at] for at in drawn) / 100)
    assert found["clean_train_accuracy"] == pytest.approx(sum(right[at] for at in range(200) if at not in drawn) / 100)
    assert found["clean_train_accuracy"] > found["memorized"] + 0.2  # the model has learned, and not everything


def test_what_cannot_be_told_is_not_a_number():
    targets = torch.arange(10)
    memorized, clean = seen(targets, targets, 0.0)
    assert math.isnan(memorized)
    assert clean == 1.0
    memorized, clean = seen(targets, targets, 1.0)
    assert memorized == 1.0
    assert math.isnan(clean)
    assert all(math.isnan(one) for one in seen(targets, targets.float()))


@pytest.mark.parametrize("bad", [-0.1, 1.5, math.nan])
def test_no_share_is_refused(bad):
    with pytest.raises(ValueError, match="must be a share"):
        Memorized(random_labels=bad)
