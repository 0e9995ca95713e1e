"""A batch sampler whose batch size may change at any step; every epoch has every example once."""

from collections import deque
from collections.abc import Iterator, Sized
from dataclasses import dataclass
from typing import Any, final

import torch
from torch.utils.data import IterableDataset, Sampler

from ..batch_policy import Setting
from ..randomness import generator


@final
@dataclass(frozen=True)
class Drawn:
    """A batch that has been handed to a loader.

    Attributes:
        setting: That held when it was drawn.
        size: Examples in it, over all ranks.
        local: Examples of them on this rank.
        start: Of its first example in the epoch's order.
    """

    setting: Setting
    size: int
    local: int
    start: int


@final
class VariableBatchSampler(Sampler[list[int]]):
    """Index batches for `DataLoader(dataset, batch_sampler=...)`, cut from one order an epoch at whatever size holds.

    However the size changes, an epoch visits every example exactly once: what is left over is a smaller last batch. Loaders
    with workers draw ahead, so that a new size is seen some batches later; batches that are drawn but not used yet are
    not lost when training is stopped and resumed, since the state counts what was used (`BatchSizeScheduler.step`).

    With several ranks all of them cut the same order at the same places and each takes its share of every batch, sizes
    differing by one at most; no rank ever gets an empty batch, since fewer left-over examples than ranks are put into the
    batch before. Where shares differ, weight the local mean loss by `BatchSizeScheduler.weight`.

    Args:
        data: A dataset that has a length, or the number of examples.
        batch_size: Examples in a batch over all ranks, to begin with.
        seed: Of the order.
        shuffle: A new order in every epoch; otherwise as the data lie.
        drop_last: Leave out a last batch that is smaller than the size that holds.
        rank: Of this process. None: as `torch.distributed` says, 0 without it.
        world_size: Number of processes. None: as `torch.distributed` says, 1 without it.

    Raises:
        ValueError: If the batch size or the ranks do not fit.
        TypeError: If the data have no length.
    """

    def __init__(
        self, data: Any, batch_size: int, *, seed: int = 0, shuffle: bool = True,
        drop_last: bool = False, rank: int | None = None, world_size: int | None = None,
    ) -> None:  # fmt: skip
        self.count = _length(data)
        self.rank, self.world_size = _place(rank, world_size)
        self.seed, self.shuffle, self.drop_last = seed, shuffle, drop_last
        self.check(batch_size)
        self.setting = Setting(batch_size)
        self.epoch = 0
        self.used = 0  # examples of this epoch that training has used
        self.drawn: deque[Drawn] = deque()
        self._replayed: deque[tuple[Setting, int]] = deque()
        self._is_followed = False

    def check(self, batch_size: int) -> None:
        """Do nothing if batches can have this size.

        Raises:
            ValueError: If there are fewer examples than ranks, or more than the data have.
        """
        if not self.world_size <= batch_size <= self.count:
            raise ValueError(
                f"`VariableBatchSampler(batch_size={batch_size})`: must be from {self.world_size} (one example for each "
                f"rank) to {self.count}, the number of examples."
            )

    @property
    def batch_size(self) -> int:
        """Return the size of the batches that are drawn next, over all ranks."""
        return self.setting.batch_size

    @batch_size.setter
    def batch_size(self, batch_size: int) -> None:
        self.check(batch_size)
        self.setting = Setting(batch_size, self.setting.factor)

    def __iter__(self) -> Iterator[list[int]]:
        if self.used >= self.count:
            self.epoch, self.used = self.epoch + 1, 0
        self.drawn.clear()
        order = (
            torch.randperm(self.count, generator=generator(self.seed, "order", self.epoch))
            if self.shuffle else torch.arange(self.count)
        )  # fmt: skip
        start = self.used
        while start < self.count:
            setting, size = self._replayed.popleft() if self._replayed else (self.setting, 0)
            size = size or self._size(setting, start)
            if self.drop_last and size < setting.batch_size:
                break
            chosen = order[start : start + size][self.rank :: self.world_size].tolist()
            self.drawn.append(Drawn(setting, size, len(chosen), start))
            start += size
            if not self._is_followed:
                self.advance()
            yield chosen
        if not self._is_followed or not self.drawn:
            self.used = self.count

    def __len__(self) -> int:
        """Return how many batches are left of this epoch at the present size."""
        left = self.count - (0 if self.used >= self.count else self.used)
        whole, rest = divmod(left, self.batch_size)
        return whole + (rest > 0 and not self.drop_last and (rest >= self.world_size or whole == 0))

    def follow(self) -> None:
        """From now on a batch counts as used when `advance` is called, and no longer when it is drawn."""
        self._is_followed = True

    def advance(self) -> Drawn:
        """Note that the oldest drawn batch has been used, and return it.

        Raises:
            RuntimeError: If none has been drawn that was not used.
        """
        if not self.drawn:
            raise RuntimeError(
                "`BatchSizeScheduler.step()`: no batch was drawn that has not been used. Call it once for each batch of a "
                "loader over this sampler, after the optimizer's step."
            )
        one = self.drawn.popleft()
        self.used = one.start + one.size
        left = self.count - self.used
        if not self.drawn and self.drop_last and left < self.batch_size:
            self.used = self.count
        return one

    def set_epoch(self, epoch: int) -> None:
        """Begin `epoch` at its first example, unless it is the present one."""
        if epoch != self.epoch:
            self.epoch, self.used = epoch, 0
            self._replayed.clear()

    def state_dict(self) -> dict[str, Any]:
        """Return what training has used, and the sizes that were drawn beyond."""
        pending = [(one.setting.batch_size, one.setting.factor, one.size) for one in self.drawn]
        return {
            "count": self.count, "seed": self.seed, "epoch": self.epoch, "used": self.used, "pending": pending,
            "batch_size": self.setting.batch_size, "factor": self.setting.factor,
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state: the next batch is the first that was not used.

        Raises:
            ValueError: If it is of other data; nothing is changed then.
        """
        if state["count"] != self.count or not 0 <= state["used"] <= self.count:
            raise ValueError(
                f"`VariableBatchSampler.load_state_dict`: the state is of {state['count']} examples, this sampler has "
                f"{self.count}. Resume on the same data."
            )
        self.check(state["batch_size"])
        self.seed, self.epoch, self.used = state["seed"], state["epoch"], state["used"]
        self.setting = Setting(state["batch_size"], state["factor"])
        self._replayed = deque((Setting(size, factor), drawn) for size, factor, drawn in state["pending"])
        self.drawn.clear()

    def _size(self, setting: Setting, start: int) -> int:
        """Return the examples of a batch that begins at `start`; a rest smaller than the ranks is taken along."""
        left = self.count - start
        return setting.batch_size if left - setting.batch_size >= self.world_size else left


def _length(data: Any) -> int:
    if isinstance(data, int):
        return data
    if isinstance(data, IterableDataset) or not isinstance(data, Sized):
        raise TypeError(
            f"`VariableBatchSampler(data=...)`: {type(data).__name__} has no order to cut anew: batches of a stream are "
            "made by whoever yields it. Give a dataset with a length, or let the stream yield single examples into "
            "a list and give that."
        )
    return len(data)


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    known = torch.distributed.is_available() and torch.distributed.is_initialized()
    world_size = (torch.distributed.get_world_size() if known else 1) if world_size is None else world_size
    rank = (torch.distributed.get_rank() if known else 0) if rank is None else rank
    if not 0 <= rank < world_size:
        raise ValueError(
            f"`VariableBatchSampler(rank={rank}, world_size={world_size})`: the rank must be from 0 to {world_size - 1}."
        )
    return rank, world_size
