"""Batches of changing size: every example once an epoch, whatever happens."""

import itertools
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import critbatch as cb
from critbatch.batch_policy import Setting
from tests.monitor.test_processes import free_port


def sizes_that_change(batches: cb.VariableBatchSampler, sizes: list[int]) -> list[list[int]]:
    """Return the batches of an epoch while the size is changed after each."""
    found = []
    for batch, size in zip(batches, itertools.cycle(sizes), strict=False):
        found.append(batch)
        batches.batch_size = size
    return found


@settings(deadline=None)
@given(count=st.integers(4, 200), sizes=st.lists(st.integers(1, 60), min_size=1), seed=st.integers(0, 5))
def test_every_epoch_has_every_example_once(count, sizes, seed):
    batches = cb.VariableBatchSampler(count, min(7, count), seed=seed)
    sizes = [min(size, count) for size in sizes]
    for _ in range(2):
        found = sizes_that_change(batches, sizes)
        assert sorted(itertools.chain(*found)) == list(range(count))


@settings(deadline=None)
@given(
    count=st.integers(8, 200), world=st.integers(1, 4), sizes=st.lists(st.integers(4, 60), min_size=1), stop=st.integers(0, 9)
)  # fmt: skip
def test_ranks_share_every_batch_and_none_is_empty_even_when_resumed(count, world, sizes, stop):
    sizes = [min(size, count) for size in sizes]
    ranks = [cb.VariableBatchSampler(count, 4, rank=rank, world_size=world) for rank in range(world)]
    first = [list(itertools.islice(sizes_and(one, sizes), stop)) for one in ranks]
    others = [cb.VariableBatchSampler(count, 4, rank=rank, world_size=world) for rank in range(world)]
    for one, other in zip(ranks, others, strict=True):
        other.load_state_dict(one.state_dict())
    rest = [list(sizes_and(one, sizes[stop % len(sizes) :] + sizes[: stop % len(sizes)])) for one in others]
    if ranks[0].used < count:
        whole = [one + more for one, more in zip(first, rest, strict=True)]
        assert sorted(itertools.chain(*itertools.chain(*whole))) == list(range(count))
    for shares in zip(*rest, strict=True):
        lengths = [len(one) for one in shares]
        assert min(lengths) >= 1
        assert max(lengths) - min(lengths) <= 1


def sizes_and(batches, sizes):
    for batch, size in zip(batches, itertools.cycle(sizes), strict=False):
        batches.batch_size = size
        yield batch


def test_a_new_epoch_has_a_new_order_and_a_seed_fixes_it():
    one, other = cb.VariableBatchSampler(50, 10, seed=3), cb.VariableBatchSampler(50, 10, seed=3)
    first, second = list(one), list(one)
    assert first != second
    assert [first, second] == [list(other), list(other)]
    assert next(iter(cb.VariableBatchSampler(50, 10, shuffle=False))) == list(range(10))


def test_a_last_batch_can_be_left_out():
    batches = cb.VariableBatchSampler(25, 10, drop_last=True)
    assert [len(batch) for batch in batches] == [10, 10]
    assert [len(batch) for batch in batches] == [10, 10]
    assert batches.epoch == 1


def test_its_length_is_what_is_left_at_the_present_size():
    batches = cb.VariableBatchSampler(25, 10)
    assert len(batches) == 3
    assert len(cb.VariableBatchSampler(25, 10, drop_last=True)) == 2


class Endless(IterableDataset):
    def __iter__(self):
        return iter(())


def test_a_stream_cannot_be_cut_anew():
    with pytest.raises(TypeError, match="Endless has no order to cut anew"):
        cb.VariableBatchSampler(Endless(), 4)


@pytest.mark.parametrize("size", [0, -3, 26])
def test_a_batch_size_that_does_not_fit_is_refused_and_changes_nothing(size):
    with pytest.raises(ValueError, match=f"batch_size={size}"):
        cb.VariableBatchSampler(25, size)
    batches = cb.VariableBatchSampler(25, 5)
    with pytest.raises(ValueError, match=r"must be from 1 .* to 25"):
        batches.batch_size = size
    assert batches.batch_size == 5


def test_a_state_of_other_data_is_refused():
    state = cb.VariableBatchSampler(30, 5).state_dict()
    batches = cb.VariableBatchSampler(25, 5)
    with pytest.raises(ValueError, match="the state is of 30 examples, this sampler has 25"):
        batches.load_state_dict(state)
    with pytest.raises(ValueError, match="rank=2, world_size=2"):
        cb.VariableBatchSampler(25, 5, rank=2, world_size=2)


def trained(scheduler, loader, *, stop=None):
    """Return the examples of each batch that was trained on, and the learning rate there."""
    seen = []
    for (examples,) in loader:
        seen.append((examples.tolist(), scheduler.optimizer.param_groups[0]["lr"]))
        scheduler.step()
        if stop is not None and len(seen) == stop:
            break
    return seen


def scheduler_over(count, policy, *, batch_size=4, workers=0, **more):
    data = TensorDataset(torch.arange(count))
    batches = cb.VariableBatchSampler(data, batch_size)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    loader = DataLoader(data, batch_sampler=batches, num_workers=workers)
    return cb.BatchSizeScheduler(batches, policy, optimizer, **more), loader


def test_the_rate_moves_with_the_first_batch_of_the_new_size():
    scheduler, loader = scheduler_over(64, cb.Ramp(examples=(16,), multiples=(4,), exponent=0.5))
    seen = trained(scheduler, loader)
    assert [len(batch) for batch, _ in seen] == [4] * 4 + [16] * 3
    assert [round(rate, 12) for _, rate in seen] == [0.1] * 4 + [0.2] * 3


def test_with_workers_that_draw_ahead_nothing_is_lost_and_the_rate_still_fits_the_batch():
    scheduler, loader = scheduler_over(200, cb.Ramp(examples=(16,), multiples=(4,), exponent=1.0), workers=2)
    seen = trained(scheduler, loader)
    assert sorted(itertools.chain(*(batch for batch, _ in seen))) == list(range(200))
    assert {(len(batch), round(rate, 12)) for batch, rate in seen[:-1]} == {(4, 0.1), (16, 0.4)}


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("stop", [1, 3, 6])
def test_a_training_that_is_resumed_sees_what_an_undisturbed_one_sees(stop, workers):
    policy = cb.Ramp(examples=(16, 40), multiples=(2, 4))
    scheduler, loader = scheduler_over(100, policy, workers=workers)
    first = trained(scheduler, loader, stop=stop)
    state, rates = scheduler.state_dict(), scheduler.optimizer.state_dict()
    again, other = scheduler_over(100, policy)
    again.optimizer.load_state_dict(rates)
    again.load_state_dict(state)
    resumed = first + trained(again, other) + trained(again, other)
    assert sorted(itertools.chain(*(batch for batch, _ in resumed))) == sorted([*range(100)] * 2)
    if workers == 0:
        whole, loader = scheduler_over(100, policy)
        assert resumed == trained(whole, loader) + trained(whole, loader)


def test_base_rates_of_a_schedule_follow():
    data = TensorDataset(torch.arange(64))
    batches = cb.VariableBatchSampler(data, 4)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 0.5**epoch)
    scheduler = cb.BatchSizeScheduler(
        batches, cb.Ramp(examples=(64,), multiples=(4,), exponent=1.0), optimizer, rate_scheduler=rates
    )  # fmt: skip
    trained(scheduler, DataLoader(data, batch_sampler=batches))
    optimizer.step()
    rates.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 4 * 0.5)


def test_an_adaptive_policy_asks_for_measurements_and_uses_them():
    policy = cb.NormTest(every=4, looks=2)
    scheduler, loader = scheduler_over(64, policy)
    with pytest.raises(ValueError, match="none was measured in 4 steps"):
        trained(scheduler, loader)
    scheduler, loader = scheduler_over(64, policy)
    sizes = []
    for (batch,) in loader:
        sizes.append(len(batch))
        scheduler.step(moments=(100.0, 1.0))
    assert sizes[:5] == [4, 4, 4, 4, 5]  # tr/(theta^2 (|G|^2 + tr/B)) = 100/(0.81 x 26)


def decided(rank: int, port: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    try:
        batches = cb.VariableBatchSampler(400, 8)
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        scheduler = cb.BatchSizeScheduler(batches, cb.NormTest(every=4, looks=2, growth=100.0), optimizer)
        seen = []
        for batch in batches:
            seen.append((batch, batches.setting))
            scheduler.step(moments=(100.0 * (rank + 1), 1.0))  # as if they had measured different things
        torch.distributed.barrier()  # rank 0 sends, and must not leave before it was heard
        torch.save(
            [(batch, setting.batch_size, setting.factor) for batch, setting in seen], Path(folder) / f"{rank}.pt"
        )
    finally:
        torch.distributed.destroy_process_group()


def test_ranks_that_measure_different_noise_take_the_same_decision(tmp_path):
    mp.spawn(decided, (free_port(), str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert [one[1:] for one in first] == [one[1:] for one in second]
    assert len({one[1] for one in first}) > 1
    assert sorted(itertools.chain(*(batch for found in (first, second) for batch, *_ in found))) == list(range(400))


def test_a_scheduler_counts_only_batches_that_were_drawn():
    scheduler, _ = scheduler_over(64, cb.Ramp())
    with pytest.raises(RuntimeError, match="no batch was drawn"):
        scheduler.step()
    with pytest.raises(ValueError, match="most=2"):
        scheduler_over(64, cb.Ramp(), most=2)


def test_a_state_of_another_policy_is_refused_and_changes_nothing():
    scheduler, _ = scheduler_over(64, cb.Ramp())
    other, _ = scheduler_over(64, cb.Seesaw())
    with pytest.raises(ValueError, match="the state is of Seesaw"):
        scheduler.load_state_dict(other.state_dict())
    assert scheduler.batch_size == 4


def test_the_weight_makes_the_mean_over_ranks_that_over_examples():
    batches = [cb.VariableBatchSampler(11, 5, rank=rank, world_size=2) for rank in range(2)]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    schedulers = [cb.BatchSizeScheduler(one, cb.Ramp(), optimizer) for one in batches]
    shares = [next(iter(one)) for one in batches]
    means = [sum(share) / len(share) * one.weight for share, one in zip(shares, schedulers, strict=True)]
    assert sum(means) / 2 == pytest.approx(sum(itertools.chain(*shares)) / 5)
    assert batches[0].setting == Setting(5)
