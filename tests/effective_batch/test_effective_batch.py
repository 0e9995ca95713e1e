"""Steps on a whole batch in pieces: the same numbers whatever memory does."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_module
from torch.nn import functional as F

import critbatch as cb
from critbatch.effective_batch import OutOfMemory
from critbatch.randomness import generator
from tests.monitor.test_processes import free_port

STEPS, SIZE = 12, 24


def network(kind: str = "plain", dtype: torch.dtype = torch.float64) -> nn.Module:
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(3)
        layers = {
            "plain": lambda: [nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)],
            "ghost": lambda: [nn.Linear(5, 8, bias=False), cb.GhostBatchNorm(8, 4), nn.Tanh(), nn.Linear(8, 3)],
            "batch norm": lambda: [nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3)],
            "dropout": lambda: [nn.Linear(5, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3)],
        }[kind]()
    return nn.Sequential(*layers).to(dtype)


def batches(dtype: torch.dtype = torch.float64, steps: int = STEPS):
    stream = generator(0, "batches")
    for _ in range(steps):
        inputs = torch.randn(SIZE, 5, generator=stream, dtype=torch.float64).to(dtype)
        yield inputs, torch.randint(3, (SIZE,), generator=stream)


def summed(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1], reduction="sum")


def rule(name: str, model: nn.Module) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(model.parameters(), lr=0.01)
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


class Faults:
    """Runs out of memory at given passages through a place, and counts the examples whose step was completed."""

    def __init__(self, at: set[int], error: type[Exception] = torch.OutOfMemoryError) -> None:
        self.at, self.error, self.passed = at, error, 0

    def pass_by(self) -> None:
        self.passed += 1
        if self.passed in self.at:
            raise self.error("made up: no memory")


def broken(model: nn.Module, faults: Faults, place: str):
    """Return a loss that runs out of memory in its forward or its backward pass."""

    def loss(module, batch):
        found = summed(module, batch)
        if place == "forward":
            faults.pass_by()
        elif found.requires_grad:
            found.register_hook(lambda _: faults.pass_by())
        return found

    return loss


def trained(kind, name, dtype, *, faults=None, place="forward", **options):
    model = network(kind, dtype)
    optimizer = rule(name, model)
    loss = summed if faults is None or place == "update" else broken(model, faults, place)
    if faults is not None and place == "update":
        optimizer.register_step_post_hook(lambda *_: faults.pass_by())  # after parameters have been changed
    effective = cb.EffectiveBatch(model, optimizer, loss=loss, **options)
    with torch.random.fork_rng():
        torch.default_generator.manual_seed(0)
        losses = [effective.step(batch) for batch in batches(dtype)]
    return model, losses, effective


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("kind", "place"), [("plain", "forward"), ("plain", "backward"), ("ghost", "backward"), ("plain", "update")]
)
@pytest.mark.parametrize("seed", range(3))
def test_running_out_of_memory_at_random_points_changes_no_weight(kind, place, name, dtype, seed):
    count = np.random.default_rng(seed).choice(np.arange(1, 2 * STEPS), size=1 if kind == "ghost" else 3, replace=False)
    error = (torch.OutOfMemoryError, MemoryError)[seed % 2]
    faults = Faults(set(count.tolist()), error)
    whole, losses, _ = trained(kind, name, dtype)
    pieces, found, effective = trained(kind, name, dtype, faults=faults, place=place, guard="always")
    tolerance = 1e-12 if dtype is torch.float64 else 1e-6
    for one, other in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=tolerance)
    assert found == pytest.approx(losses, rel=1e-5 if dtype is torch.float32 else 1e-11)
    if place != "update" and any(at <= STEPS for at in count):
        assert effective.micro_batch_size < SIZE


@pytest.mark.parametrize("size", [1, 5, 7, 24])
def test_any_split_gives_the_gradient_of_the_whole_batch(size):
    whole, losses, _ = trained("plain", "sgd", torch.float64)
    pieces, found, _ = trained("plain", "sgd", torch.float64, micro_batch_size=size)
    for one, other in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-12)
    assert found == pytest.approx(losses, rel=1e-12)


def test_a_step_that_is_done_again_draws_the_same_random_numbers():
    calm, losses, _ = trained("dropout", "sgd", torch.float64, micro_batch_size=6)
    # runs out in the second piece of the first step, at 12 examples; from there on pieces are of 6
    faults = Faults({2})
    model, found, effective = trained("dropout", "sgd", torch.float64, faults=faults, micro_batch_size=12)
    assert effective.micro_batch_size == 6
    assert found == losses
    for one, other in zip(calm.parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_nothing_is_skipped_and_nothing_is_seen_twice_in_a_completed_step():
    seen: list[list[int]] = []
    faults = Faults({2, 5, 6})
    model = nn.Linear(1, 1).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def loss(module, batch):
        seen[-1] += batch.flatten().int().tolist()
        faults.pass_by()
        return module(batch).sum()

    effective = cb.EffectiveBatch(model, optimizer, loss=loss)
    effective._clear, clear = lambda: (seen.append([]), clear()), effective._clear
    for start in range(0, 96, 24):
        effective.step(torch.arange(start, start + 24, dtype=torch.float64)[:, None])
        assert seen[-1] == list(range(start, start + 24))
    assert len(seen) == 4 + 3  # three attempts were given up
    assert effective.micro_batch_size == 3


def test_tokens_are_weighted_alike_whatever_piece_they_are_in():
    model = nn.Linear(4, 7).double()
    stream = generator(1, "tokens")
    inputs = torch.randn(10, 6, 4, generator=stream, dtype=torch.float64)
    targets = torch.randint(7, (10, 6), generator=stream)
    targets[torch.rand(10, 6, generator=stream) < 0.6] = -100  # unequal counts

    def loss(module, batch):
        logits = module(batch["inputs"]).flatten(0, 1)
        return F.cross_entropy(logits, batch["targets"].flatten(), ignore_index=-100, reduction="sum")

    whole = copy.deepcopy(model)
    F.cross_entropy(whole(inputs).flatten(0, 1), targets.flatten(), ignore_index=-100).backward()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    effective = cb.EffectiveBatch(
        model, optimizer, loss=loss, size=lambda batch: int((batch["targets"] != -100).sum()), micro_batch_size=3
    )  # fmt: skip
    effective.step({"inputs": inputs, "targets": targets})
    for one, other in zip(model.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="are all tokens masked"):
        effective.step({"inputs": inputs, "targets": torch.full_like(targets, -100)})


def test_when_not_even_one_example_fits_nothing_has_changed():
    model = network("ghost")
    optimizer = rule("adam", model)
    effective = cb.EffectiveBatch(model, optimizer, loss=broken(model, Faults(set(range(99))), "backward"))
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    with pytest.raises(OutOfMemory, match="a ghost batch of 4 examples does not fit"):
        effective.step(next(batches()))
    assert all(torch.equal(one, other) for one, other in zip(before.values(), model.state_dict().values(), strict=True))
    assert torch.equal(random, torch.get_rng_state())
    assert not optimizer.state
    assert all(one.grad is None for one in model.parameters())


def test_an_update_without_a_guard_says_that_it_may_be_half_done():
    with pytest.raises(OutOfMemory, match="may have changed some parameters"):
        trained("plain", "adam", torch.float64, faults=Faults({3}), place="update")
    with pytest.raises(OutOfMemory, match="twice"):
        trained("plain", "adam", torch.float64, faults=Faults({1, 2}), place="update")


def test_it_says_when_accumulation_is_not_a_big_batch():
    with pytest.warns(UserWarning, match="accumulation is not a big batch here: BatchNorm"):
        trained("batch norm", "sgd", torch.float64, micro_batch_size=6)
    trained("batch norm", "sgd", torch.float64)  # whole batches: nothing to say


def contrastive(model, batch):
    logits = model(batch[0]) @ model(batch[0]).T
    return F.cross_entropy(logits, torch.arange(len(logits)), reduction="sum")


@pytest.mark.parametrize(
    ("kind", "loss", "words"),
    [
        ("plain", summed, ""), ("dropout", summed, ""), ("ghost", summed, ""), ("batch norm", summed, "BatchNorm"),
        ("plain", contrastive, "contrastive"),
    ],
)  # fmt: skip
def test_the_check_finds_losses_that_couple_examples_and_changes_nothing(kind, loss, words):
    model = network(kind)
    effective = cb.EffectiveBatch(model, rule("sgd", model), loss=loss)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    found = effective.check(next(batches()))
    assert found.is_coupled == bool(words)
    assert words in found.reason
    assert model.training
    assert all(one.training for one in model)
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(one, other) for one, other in zip(before.values(), model.state_dict().values(), strict=True))


def test_the_gradient_of_the_whole_batch_is_clipped():
    model = network()
    effective = cb.EffectiveBatch(
        model, torch.optim.SGD(model.parameters(), lr=1.0), loss=summed, clip_norm=0.01, micro_batch_size=5
    )
    before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    effective.step(next(batches()))
    moved = nn.utils.parameters_to_vector(model.parameters()).detach() - before
    assert float(moved.norm()) == pytest.approx(0.01, rel=1e-4)


def test_mixed_precision_skips_a_step_that_overflowed_and_goes_on():
    model = network(dtype=torch.float32)
    plain = copy.deepcopy(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127)  # the first gradients overflow
    effective = cb.EffectiveBatch(
        model, torch.optim.SGD(model.parameters(), lr=0.1), loss=summed, scaler=scaler, clip_norm=100.0, micro_batch_size=7
    )  # fmt: skip
    other = cb.EffectiveBatch(plain, torch.optim.SGD(plain.parameters(), lr=0.1), loss=summed)
    data = list(batches(torch.float32))
    while scaler.get_scale() >= 2.0**100:  # halved at each overflow
        before = nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        scale = scaler.get_scale()
        effective.step(data[0])
        if scaler.get_scale() < scale:
            assert torch.equal(before, nn.utils.parameters_to_vector(model.parameters()))
        else:
            break
    plain.load_state_dict(model.state_dict())
    for batch in data:
        effective.step(batch)
        other.step(batch)
    for one, reference in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, reference, rtol=1e-4, atol=1e-6)


def process(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        model = network("plain")
        wrapped = nn.parallel.DistributedDataParallel(model)
        faults = Faults({3} if rank == 1 else set())
        optimizer = rule("adam", model)
        share = slice(0, 17) if rank == 0 else slice(17, SIZE)
        effective = cb.EffectiveBatch(wrapped, optimizer, loss=broken(model, faults, "backward"))
        losses = [effective.step((inputs[share], targets[share])) for inputs, targets in batches()]
        torch.save((model.state_dict(), losses, effective.micro_batch_size), Path(folder) / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_two_processes_with_unequal_shares_agree_with_one_even_when_one_runs_out_of_memory(tmp_path):
    mp.spawn(process, (free_port(), str(tmp_path)), nprocs=2)
    whole, losses, _ = trained("plain", "adam", torch.float64)
    for rank, size in ((0, 17), (1, 3)):
        state, found, micro = torch.load(tmp_path / f"{rank}.pt")
        assert found == pytest.approx(losses, rel=1e-11)
        assert micro == size
        for name, value in whole.state_dict().items():
            torch.testing.assert_close(state[name], value, rtol=0, atol=1e-12)


def hopeless(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        model = network("plain")
        mesh = init_device_mesh("cpu", (2,))
        sharded = distribute_module(network("plain"), mesh)
        said = []
        faults = Faults(set(range(99)) if rank == 1 else set())
        effective = cb.EffectiveBatch(
            nn.parallel.DistributedDataParallel(model), rule("sgd", model), loss=broken(model, faults, "backward")
        )
        for attempt in (
            lambda: effective.step(next(batches())),
            lambda: cb.EffectiveBatch(sharded, rule("sgd", sharded), loss=summed),
        ):
            try:
                attempt()
            except (OutOfMemory, ValueError) as error:
                said.append(str(error))
        torch.save(said, Path(folder) / f"{rank}.pt")
    finally:
        torch.distributed.destroy_process_group()


def test_where_one_process_cannot_go_on_all_stop_and_sharded_parameters_are_refused(tmp_path):
    mp.spawn(hopeless, (free_port(), str(tmp_path)), nprocs=2)
    for rank, where in ((0, "on another process"), (1, "made up: no memory")):
        memory, sharded = torch.load(tmp_path / f"{rank}.pt")
        assert where in memory
        assert "sharded over processes (FSDP) are not supported" in sharded


def test_with_accelerate():
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    model = network()
    prepared, optimizer = accelerator.prepare(model, rule("sgd", model))
    effective = cb.EffectiveBatch(prepared, optimizer, loss=summed, backward=accelerator.backward, micro_batch_size=5)
    losses = [effective.step(batch) for batch in batches()]
    assert losses == pytest.approx(trained("plain", "sgd", torch.float64)[1], rel=1e-10)


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::UserWarning")  # about workers of loaders
def test_with_lightning(tmp_path):
    lightning = pytest.importorskip("lightning.pytorch")
    losses = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False
            self.net = network()
            self.effective = None

        def training_step(self, batch, _):
            if self.effective is None:
                self.effective = cb.EffectiveBatch(
                    self.net, self.optimizers(), loss=summed, backward=self.manual_backward, micro_batch_size=5
                )  # fmt: skip
            losses.append(self.effective.step(batch))

        def configure_optimizers(self):
            return rule("sgd", self.net)

    data = torch.utils.data.TensorDataset(*(torch.cat(parts) for parts in zip(*batches(), strict=True)))
    loader = torch.utils.data.DataLoader(data, batch_size=SIZE)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, accelerator="cpu",
    )  # fmt: skip
    trainer.fit(Module().double(), loader)
    assert losses == pytest.approx(trained("plain", "sgd", torch.float64)[1], rel=1e-10)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"micro_batch_size": 0}, "micro_batch_size=0"), ({"micro_batch_size": 6, "kind": "ghost"}, "a multiple of 4"),
        ({"clip_norm": 0.0}, "clip_norm=0.0"), ({"other": True}, "none of the model's parameters"),
    ],
)  # fmt: skip
def test_options_that_do_not_fit_are_refused(options, words):
    model = network(options.pop("kind", "plain"))
    optimizer = rule("sgd", network() if options.pop("other", False) else model)
    with pytest.raises(ValueError, match=words):
        cb.EffectiveBatch(model, optimizer, loss=summed, **options)


@pytest.mark.parametrize(
    ("batch", "error", "words"),
    [
        ((torch.zeros(4, 5), torch.zeros(3)), ValueError, r"got lengths \[3, 4\]"), ("text", TypeError, "str cannot be cut"),
        ((torch.zeros(0, 5), torch.zeros(0)), ValueError, r"got lengths \[0\]"),
    ],
)  # fmt: skip
def test_a_batch_that_cannot_be_cut_is_refused(batch, error, words):
    model = network()
    with pytest.raises(error, match=words):
        cb.EffectiveBatch(model, rule("sgd", model), loss=summed).step(batch)


def test_a_loss_that_is_no_sum_is_refused_and_nothing_has_changed():
    model = network("ghost")
    before = copy.deepcopy(model.state_dict())
    effective = cb.EffectiveBatch(model, rule("sgd", model), loss=lambda module, batch: module(batch[0]))
    with pytest.raises(ValueError, match=r"got the shape \(24, 3\)"):
        effective.step(next(batches()))
    assert all(torch.equal(one, other) for one, other in zip(before.values(), model.state_dict().values(), strict=True))
