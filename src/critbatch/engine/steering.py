"""A run whose batch size a policy decides."""

from collections.abc import Iterator

import torch

from ..batch_policy import BatchPolicy, Seen
from ..budget import Progress
from ..data import Examples
from ..noise import noise_moments
from ..plan import Run
from ..randomness import generator
from ..record import Record
from ..task import Task

PIECES = 8  # gradients behind one observation of the noise


class Steering:
    """What holds at the next step of a run, and what its policy has seen since it was asked last."""

    def __init__(self, policy: BatchPolicy, run: Run, train_size: int) -> None:
        self.policy = policy
        self.run = run
        self.most = train_size
        self.now = policy.start(run.batch_size, train_size)
        self._since = 0
        self._losses: list[float] = []
        self._moments: list[tuple[float, float]] = []

    def batches(self, task: Task, device: torch.device, dtype: torch.dtype) -> Iterator[Examples]:
        """Yield batches of the size that holds when they are asked for; every epoch visits every example once."""
        fixed = task.train.to(device, dtype) if isinstance(task.train, Examples) else None
        number = 0
        while True:
            data = fixed or task.train.epoch(self.run.seed, number).to(device, dtype)
            order = torch.randperm(len(data), generator=generator(self.run.seed, "order", number)).to(device)
            start = 0
            while start < len(order):
                chosen = order[start : start + self.now.batch_size]
                start += len(chosen)
                yield Examples(data.inputs.index_select(0, chosen), data.targets.index_select(0, chosen))
            number += 1

    def prepare(self, task: Task, model: torch.nn.Module, batch: Examples) -> float:
        """Return the factor on the learning rate of a step on `batch`; observe the gradient noise if it is wanted there.

        The plain loop scales a step by the batch's share of the run's batch size; here its share of the present one counts.
        """
        if self._since >= self.policy.interval - self.policy.observations and len(batch) > 1:
            self._observe(task, model, batch)
        return self.now.factor * self.run.batch_size / self.now.batch_size

    def records(self, progress: Progress) -> list[Record]:
        """Return what a look keeps of the setting."""
        values = {"batch_size": float(self.now.batch_size), "learning_rate_factor": self.now.factor}
        return [Record(progress.step, progress.examples, progress.seconds, *one) for one in values.items()]

    def _observe(self, task: Task, model: torch.nn.Module, batch: Examples) -> None:
        """Note the moments of the gradient noise, from pieces of `batch`; the model and the random state stay."""
        parameters = [one for one in model.parameters() if one.requires_grad]
        kept = [one.clone() for one in model.buffers()]
        found, sizes = [], []
        with torch.random.fork_rng(devices=[batch.inputs.device] if batch.inputs.is_cuda else []):
            for inputs, targets in batch.pieces(-(-len(batch) // PIECES)):
                loss = task.losses(model(inputs), targets).mean()
                parts = torch.autograd.grad(loss, parameters, allow_unused=True)
                found.append(torch.cat([one.flatten() for one in parts if one is not None]))
                sizes.append(len(inputs))
        for one, before in zip(model.buffers(), kept, strict=True):
            one.copy_(before)
        trace, square = noise_moments(torch.stack(found), found[0].new_tensor(sizes))
        if bool(trace.isfinite() & square.isfinite()):
            self._moments.append((float(trace), float(square)))

    def stepped(self, loss: float, factor: float, progress: Progress) -> None:
        """Note a step, whose learning rate had `factor`; ask the policy where an interval ends."""
        self._since += 1
        self._losses.append(loss)
        if self._since < self.policy.interval:
            return
        self.now = self.policy.decide(
            Seen(
                first=self.run.batch_size,
                most=self.most,
                now=self.now,
                step=progress.step,
                examples=progress.examples,
                learning_rate=self.run.learning_rate * factor * self.now.batch_size / self.run.batch_size,
                loss=sum(self._losses) / len(self._losses),
                traces=tuple(trace for trace, _ in self._moments),
                squared_norms=tuple(square for _, square in self._moments),
            )
        )
        self._since, self._losses, self._moments = 0, [], []
