"""Branched training against exact losses of a regression, and on real loops."""

import copy
import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

import critbatch as cb
from critbatch.branching import Branchable
from critbatch.randomness import generator
from critbatch.scaling_rules.linear import Linear
from critbatch.scaling_rules.square_root import SquareRoot
from tests.branching.oracle import Regression, bracket, exact_loss

RATE, BATCH, EXAMPLES = 0.16, 4, 512


def test_branch_losses_are_those_of_the_exact_recursion():
    for k, factor in ((1, 1.0), (4, 2.0), (8, 4.0)):
        losses = []
        for trial in range(600):
            trainer = Regression(RATE, trial)
            trainer.load(0)
            for _ in range(EXAMPLES // (BATCH * k)):
                trainer.step(BATCH * k, factor)
            losses.append(trainer.evaluate())
        error = np.std(losses, ddof=1) / len(losses) ** 0.5
        truth = exact_loss(RATE * factor, BATCH * k, EXAMPLES // (BATCH * k))
        assert abs(np.mean(losses) - truth) <= 4 * error
        assert 8 * error <= 0.2 * truth  # a bias of 20 % would be seen


def test_the_local_critical_batch_size_lies_in_its_interval():
    # The long form, 500 trials, is benchmarks/branching.py. 60 trials at 92 %: 50 or fewer in one of 20.
    steps = EXAMPLES // BATCH
    last, first = bracket(RATE, BATCH, EXAMPLES, round(steps / 1.2))
    assert 1 < first < math.inf
    inside = 0
    for trial in range(60):
        found = cb.branch(
            Regression(RATE, trial), batch_size=BATCH, examples=EXAMPLES, rule=Linear()
        ).critical_batch_size
        low_is_right = found.low is None or found.low <= last * BATCH
        inside += low_is_right and (found.high is None or found.high >= first * BATCH)
    assert inside >= 51


def test_with_many_seeds_the_bracket_is_found():
    last, first = bracket(RATE, BATCH, EXAMPLES, round(EXAMPLES // BATCH / 1.2))
    found = cb.branch(Regression(RATE), batch_size=BATCH, examples=EXAMPLES, rule=Linear(), seeds=120)
    assert isinstance(Regression(RATE), Branchable)
    assert found.critical_batch_size.low <= last * BATCH
    assert found.critical_batch_size.high == first * BATCH
    assert last * BATCH / 2 <= found.critical_batch_size.value <= first * BATCH
    assert found.branches[0].verdict == "fine"
    assert found.cost["examples"] >= 4 * 3 * 120 * EXAMPLES
    assert json.loads(json.dumps(found.to_json()))["undetected"] == found.undetected
    assert "Local critical batch size" in str(found)


def test_a_rule_that_is_wrong_by_far_shows_at_the_edge():
    found = cb.branch(Regression(RATE / 16), batch_size=BATCH, examples=EXAMPLES, rule=Linear(), seeds=10)
    assert found.branches[0].at_edge
    assert any("at the end of its grid" in one for one in found.warnings)


class Fragile(Regression):
    """A training that batches above 8 examples break."""

    def step(self, batch_size, factor):
        Regression.step(self, batch_size, factor if batch_size <= 8 else math.inf)


def test_branches_that_diverge_are_a_result():
    found = cb.branch(Fragile(RATE), batch_size=BATCH, examples=EXAMPLES, rule=Linear(), seeds=60)
    assert [one.verdict for one in found.branches] == ["fine", "fine", "worse", "worse"]
    assert [one.diverged for one in found.branches] == [0, 0, 4, 4]
    assert (found.critical_batch_size.low, found.critical_batch_size.high) == (8, 16)
    with pytest.raises(ValueError, match="the base branch, batch size 4, diverges"):
        cb.branch(Regression(400.0), batch_size=BATCH, examples=512, rule=Linear())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 0}, "batch_size=0"), ({"seeds": 0}, "seeds=0"), ({"multiples": (2, 4)}, "must begin with 1"),
        ({"multiples": (1, 4, 4)}, "increase"), ({"factors": (1.0, 0.0)}, "all above 0"), ({"overhead": 0.0}, "overhead above 0"),
        ({"examples": 15}, "too few for whole batches of 16"), ({"level": 1.0}, "level between 0 and 1"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        cb.branch(Regression(RATE), **({"batch_size": 2, "examples": 64, "rule": Linear()} | options))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(1)
        return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3))


def data(count: int, seed: int) -> TensorDataset:
    inputs = torch.randn(count, 6, generator=generator(seed, "inputs"))
    return TensorDataset(inputs, (inputs[:, :3] + 0.3 * inputs[:, 3:]).argmax(1))


def losses(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="none")


def loop(**options) -> cb.BranchLoop:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train = data(256, 0)
    for start in range(0, 256, 16):
        optimizer.zero_grad()
        losses(model, train[start : start + 16]).mean().backward()
        optimizer.step()
    return cb.BranchLoop(model, optimizer, losses=losses, train=train, evaluation=data(128, 1), **options)


def test_a_loop_goes_back_to_its_checkpoint_exactly():
    one = loop(position=range(40))
    before = copy.deepcopy(one.model.state_dict())
    state = copy.deepcopy(one.optimizer.state_dict())
    found = []
    for factor in (1.0, 3.0, 1.0):
        one.load(5)
        for name, value in one.model.state_dict().items():
            assert torch.equal(value, before[name])
        assert str(one.optimizer.state_dict()) == str(state)
        for _ in range(20):
            one.step(8, factor)
        found.append(one.evaluate())
    assert np.array_equal(found[0], found[2])
    assert not np.array_equal(found[0], found[1])


def test_a_loop_sees_the_rest_of_its_epoch_first_and_every_branch_the_same_order():
    one = loop(position=[3, 1, 4])
    one.load(0)
    first = [one._next(2), one._next(2), one._next(4)]
    one.load(0)
    second = [one._next(4), one._next(4)]
    assert set(first[0] + first[1][:1]) == {1, 3, 4}
    assert [*itertools.chain(*first)] == [*itertools.chain(*second)]


def test_branches_of_a_plain_loop_with_one_seed_say_what_they_do_not_cover():
    found = cb.branch(
        loop(), batch_size=16, examples=512, rule=SquareRoot(), multiples=(1, 2), seeds=1, half_life=16 * 693
    )
    assert found.critical_batch_size.definition.startswith("local")
    assert any("do not cover the noise of training" in one for one in found.warnings)
    assert any("half-lives" in one for one in found.warnings)


def test_a_checkpoint_from_a_file_and_one_that_does_not_fit(tmp_path):
    one = loop()
    torch.save({"model": one.model.state_dict(), "optimizer": one.optimizer.state_dict()}, tmp_path / "at.pt")
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.5)
    facts = {"losses": losses, "train": data(64, 0), "evaluation": data(64, 1)}
    other = cb.BranchLoop(model, optimizer, checkpoint=tmp_path / "at.pt", **facts)
    other.load(0)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert torch.equal(model[0].weight, one.model[0].weight)
    small = nn.Linear(6, 3)
    before = copy.deepcopy(small.state_dict())
    with pytest.raises(ValueError, match=r"does not fit the model: 0\.bias is not in the model"):
        cb.BranchLoop(small, torch.optim.Adam(small.parameters()), checkpoint=tmp_path / "at.pt", **facts)
    assert torch.equal(before["weight"], small.weight)
    with pytest.raises(ValueError, match=r"groups of \[1\] parameters, the checkpoint of \[6\]"):
        cb.BranchLoop(model, torch.optim.Adam([model[0].weight]), checkpoint=tmp_path / "at.pt", **facts)
    with pytest.raises(ValueError, match="needs the keys 'model' and 'optimizer', has"):
        cb.BranchLoop(model, optimizer, checkpoint={"state": 1}, **facts)
    (tmp_path / "no.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="could not be read"):
        cb.BranchLoop(model, optimizer, checkpoint=tmp_path / "no.pt", **facts)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_branches_of_a_lightning_checkpoint(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    from critbatch.integrations.lightning_branches import lightning_branches

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network()

        def training_step(self, batch, _):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=0.01)

    train = data(256, 0)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, enable_model_summary=False, default_root_dir=tmp_path,
        accelerator="cpu", enable_checkpointing=False,
    )  # fmt: skip
    module = Module()
    trainer.fit(module, torch.utils.data.DataLoader(train, batch_size=16))
    trainer.save_checkpoint(tmp_path / "at.ckpt")
    branches = lightning_branches(
        Module(),
        tmp_path / "at.ckpt",
        losses=lambda one, batch: losses(one.net, batch),
        train=train,
        evaluation=data(64, 1),
    )
    branches.load(0)
    assert torch.equal(branches.model.net[0].weight, module.net[0].weight)
    assert branches.optimizer.state_dict()["state"][0]["step"] == 16
    found = cb.branch(branches, batch_size=16, examples=128, rule=SquareRoot(), multiples=(1, 2), seeds=2)
    assert len(found.branches) == 2
    with pytest.raises(ValueError, match="could not be read"):
        lightning_branches(Module(), tmp_path / "no.ckpt", losses=losses, train=train, evaluation=train)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_branches_of_a_transformers_checkpoint(tmp_path):
    transformers = pytest.importorskip("transformers")
    from critbatch.integrations.transformers_branches import transformers_branches

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = network()

        def forward(self, inputs, labels):
            found = self.net(inputs)
            return {"loss": F.cross_entropy(found, labels), "logits": found}

    rows = [{"inputs": x, "labels": y} for x, y in data(128, 0)]
    options = transformers.TrainingArguments(
        output_dir=str(tmp_path), max_steps=6, save_steps=6, report_to=[], disable_tqdm=True, use_cpu=True,
        per_device_train_batch_size=16,
    )  # fmt: skip
    trainer = transformers.Trainer(model=Net(), args=options, train_dataset=rows, eval_dataset=rows[:32])
    trainer.train()

    def each(model, batch):
        return F.cross_entropy(model(**batch)["logits"], batch["labels"], reduction="none")

    fresh = transformers.Trainer(model=Net(), args=options, train_dataset=rows, eval_dataset=rows[:32])
    branches = transformers_branches(fresh, tmp_path / "checkpoint-6", losses=each)
    branches.load(0)
    assert torch.equal(fresh.model.net[0].weight, trainer.model.net[0].weight)
    found = cb.branch(branches, batch_size=16, examples=128, rule=SquareRoot(), multiples=(1, 2), seeds=2)
    assert len(found.branches) == 2
    with pytest.raises(ValueError, match=r"has no model.safetensors and no optimizer.pt"):
        transformers_branches(fresh, tmp_path, losses=each)
