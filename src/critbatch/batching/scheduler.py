"""The batch size of a live training, decided by a policy."""

import math
from typing import Any, final

import torch
from torch import Tensor

from ..batch_policy import BatchPolicy, Seen, Setting
from ..monitor import GradientNoiseMonitor
from .sampler import VariableBatchSampler


@final
class BatchSizeScheduler:
    """Change the batch size, and the learning rate with it, as a policy says: `step()` after each optimizer step.

        batches = cb.VariableBatchSampler(dataset, 64)
        loader = DataLoader(dataset, batch_sampler=batches)
        scheduler = cb.BatchSizeScheduler(batches, cb.Ramp(examples=(100_000,)), optimizer)

    The learning rate of every parameter group is multiplied by the change of the policy's factor, when the first batch of
    the new size is trained on; base rates of `rate_scheduler` are too, so that a schedule goes on from there.

    Args:
        batches: Of the loader that is trained on.
        policy: Says when and to what.
        optimizer: Whose learning rates follow.
        rate_scheduler: A scheduler of `torch.optim.lr_scheduler` over the same optimizer, if there is one.
        monitor: Gives policies that look at the gradient noise what it measured; or give moments to `step`.
        most: Largest batch size. None: the training set.

    Raises:
        ValueError: If `most` is smaller than the batch size, or the policy looks at noise and nothing measures it.
    """

    def __init__(
        self, batches: VariableBatchSampler, policy: BatchPolicy, optimizer: torch.optim.Optimizer, *,
        rate_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None,
        monitor: GradientNoiseMonitor | None = None, most: int | None = None,
    ) -> None:  # fmt: skip
        self.first = batches.batch_size
        self.most = batches.count if most is None else most
        if not self.first <= self.most <= batches.count:
            raise ValueError(
                f"`BatchSizeScheduler(most={most})`: must be from the batch size {self.first} to {batches.count} examples."
            )
        self.batches, self.policy, self.optimizer = batches, policy, optimizer
        self._rates, self._monitor = rate_scheduler, monitor
        self._steps = self._examples = self._since = self._heard = 0
        self._losses: list[float] = []
        self._moments: list[tuple[float, float]] = []
        self._applied = 1.0
        batches.follow()
        self._set(policy.start(self.first, self.most))
        self._apply(batches.setting.factor)

    @property
    def batch_size(self) -> int:
        """Return the size of the batch that is trained on next, over all ranks."""
        return self.batches.drawn[0].size if self.batches.drawn else self.batches.batch_size

    @property
    def weight(self) -> float:
        """Return what to multiply this rank's mean loss with, so that the mean over ranks is that over examples."""
        if not self.batches.drawn:
            return 1.0
        now = self.batches.drawn[0]
        return now.local * self.batches.world_size / now.size

    def step(self, loss: float | None = None, *, moments: tuple[float, float] | None = None) -> None:
        """Note that the batch has been trained on; ask the policy where an interval ends.

        Args:
            loss: Mean loss of the batch, over all ranks, before the step. Policies that look at the loss need it.
            moments: Unbiased estimates of tr(Sigma) and |G|^2 of the batch, from `noise_moments`.

        Raises:
            RuntimeError: If no batch was drawn.
            ValueError: If the policy looks at the noise, and neither a monitor nor `moments` ever told of it.
        """
        used = self.batches.advance()
        self._steps, self._examples, self._since = self._steps + 1, self._examples + used.size, self._since + 1
        if loss is not None:
            self._losses.append(loss)
        self._hear(moments)
        self._moments = [pair for pair in self._moments if all(map(math.isfinite, pair))]
        if self._since >= self.policy.interval:
            self._decide(used.setting)
        self._apply((self.batches.drawn[0].setting if self.batches.drawn else self.batches.setting).factor)

    def _hear(self, moments: tuple[float, float] | None) -> None:
        if moments is not None:
            self._moments.append(moments)
        if self._monitor is not None:
            found = self._monitor.history.measured
            parts = [one.moments for one in found[self._heard :]]
            self._moments += [(float(one.traces.sum()), float(one.squared_norms.sum())) for one in parts]
            self._heard = len(found)

    def _decide(self, now: Setting) -> None:
        if self.policy.observations and not self._moments:
            raise ValueError(
                f"`BatchSizeScheduler(policy={type(self.policy).__name__})`: this policy looks at the gradient noise, and "
                f"none was measured in {self._since} steps. Give `monitor=GradientNoiseMonitor(...)`, or moments to `step`."
            )
        if now == self.batches.setting:  # otherwise a change is under way that no batch was trained with yet
            recent = self._moments[-self.policy.observations :] if self.policy.observations else []
            seen = Seen(
                first=self.first, most=self.most, now=now, step=self._steps, examples=self._examples,
                learning_rate=float(self.optimizer.param_groups[0]["lr"]),
                loss=sum(self._losses) / len(self._losses) if self._losses else None,
                traces=tuple(trace for trace, _ in recent), squared_norms=tuple(square for _, square in recent),
            )  # fmt: skip
            self._set(self._agreed(self.policy.decide(seen)))
        self._since, self._losses, self._moments = 0, [], []

    def _agreed(self, setting: Setting) -> Setting:
        """Return rank 0's decision: what is measured may differ in the last digit between ranks."""
        if self.batches.world_size == 1 or not self.policy.observations:
            return setting
        told = [setting]
        torch.distributed.broadcast_object_list(told, src=0)
        return told[0]

    def _set(self, setting: Setting) -> None:
        size = max(setting.batch_size, self.batches.world_size)
        self.batches.check(size)
        self.batches.setting = Setting(size, setting.factor)

    def _apply(self, factor: float) -> None:
        change = factor / self._applied
        if change == 1:
            return
        for group in self.optimizer.param_groups:
            for name in ("lr", "initial_lr"):
                if isinstance(group.get(name), Tensor):
                    group[name].mul_(change)
                elif name in group:
                    group[name] *= change
        if self._rates is not None:
            self._rates.base_lrs = [one * change for one in self._rates.base_lrs]
        self._applied = factor

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on in the middle of an epoch; save the optimizer's state beside it."""
        return {
            "batches": self.batches.state_dict(), "first": self.first, "steps": self._steps, "examples": self._examples,
            "since": self._since, "losses": list(self._losses), "moments": list(self._moments), "applied": self._applied,
            "policy": repr(self.policy),
        }  # fmt: skip

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state. Load the optimizer's (and the rate scheduler's) too: they hold the learning rates.

        Raises:
            ValueError: If it is of another policy or other data; nothing is changed then.
        """
        if state["policy"] != repr(self.policy) or state["first"] != self.first:
            raise ValueError(
                f"`BatchSizeScheduler.load_state_dict`: the state is of {state['policy']} from batches of {state['first']}, "
                f"this scheduler has {self.policy!r} from {self.first}. Make it as it was."
            )
        if not (math.isfinite(state["applied"]) and state["applied"] > 0):
            raise ValueError(f"`BatchSizeScheduler.load_state_dict`: the factor {state['applied']} must be above 0.")
        self.batches.load_state_dict(state["batches"])
        self._steps, self._examples, self._since = state["steps"], state["examples"], state["since"]
        self._losses, self._moments = list(state["losses"]), [tuple(one) for one in state["moments"]]
        self._applied = state["applied"]
