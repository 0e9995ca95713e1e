"""The reference: the plain PyTorch loop, one run after another."""

import itertools
import math
import time
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from ..budget import Progress
from ..data import Examples
from ..measurement import look_steps
from ..out_of_memory import OutOfMemory, halving
from ..plan import Run, RunResult
from ..randomness import generator, seed_of
from ..record import Ending, record_table
from ..task import Task
from .looks import Looks
from .steering import Steering

LOOKS = frozenset(look_steps())


def train(tasks: Mapping[str, Task], cohort: tuple[Run, ...], device: str = "cpu") -> list[RunResult]:
    """Train the runs of a cohort one by one and return their results.

    Args:
        tasks: The tasks that the runs name.
        cohort: Runs that could be trained together.
        device: Where to train, as torch spells it.
    """
    return [train_run(tasks[run.task], run, torch.device(device)) for run in cohort]


def train_run(task: Task, run: Run, device: torch.device) -> RunResult:
    """Train one run from its initialisation to its ending.

    The numbers depend on the run and the device alone. The global random state is left as it was; what the model draws
    (dropout) comes from the run's own stream. Parameters are initialised in float32, then cast.
    """
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for stream in (torch.default_generator, *(torch.cuda.default_generators[one.index or 0] for one in devices)):
            stream.manual_seed(seed_of(run.seed, "forward"))
        return _train(task, run, device)


def _train(task: Task, run: Run, device: torch.device) -> RunResult:
    dtype = getattr(torch, run.dtype)
    progress = Progress(0, 0, 0.0, len(task.train))
    micro_batch_size = run.micro_batch_size
    ending = None
    looks = Looks(task, run, device)
    policy = run.sampling.steering
    steering = None if policy is None else Steering(policy, run, len(task.train))
    model = task.initialise(run.seed).to(device, dtype).train()
    optimizer = run.optimizer.build(model.parameters(), run.learning_rate)
    try:
        looks.take(lambda: model, progress)
        started = time.perf_counter()
        for batch in batches(task, run, device, dtype) if steering is None else steering.batches(task, device, dtype):
            factor = run.schedule.factor(run.budget.used(progress))
            if steering is not None:
                factor *= steering.prepare(task, model, batch)
            loss, micro_batch_size = take_step(task, run, model, optimizer, batch, factor, micro_batch_size)
            seconds = time.perf_counter() - started
            progress = Progress(progress.step + 1, progress.examples + len(batch), seconds, progress.train_size)
            if steering is not None:
                steering.stepped(loss, factor, progress)
            if not math.isfinite(loss):
                ending = Ending.DIVERGED
            elif run.budget.used(progress) >= 1:
                ending = Ending.BUDGET
            if ending is Ending.BUDGET or (ending is None and progress.step in LOOKS):
                ending = looks.take(lambda: model, progress, spent=ending is Ending.BUDGET) or ending
                looks.records += [] if steering is None else steering.records(progress)
                started = time.perf_counter() - seconds
            if ending:
                break
    except OutOfMemory as error:
        ending = Ending.INFEASIBLE
        looks.note(str(error))
    if micro_batch_size < run.micro_batch_size:
        looks.note(f"memory ran out: micro-batches of {micro_batch_size} instead of {run.micro_batch_size} examples")
    if ending is None:
        raise ValueError(f"`{run.sampling}` gives no batch of {run.batch_size} from {len(task.train)} examples.")
    records = record_table(looks.records)
    return RunResult(run, ending, progress.step, progress.examples, progress.seconds, records, "; ".join(looks.notes))


def take_step(
    task: Task, run: Run, model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Examples, factor: float,
    micro_batch_size: int,
) -> tuple[float, int]:  # fmt: skip
    """Change `model` by one step on `batch`; return the loss and the micro-batch size that fitted into memory.

    Args:
        task: What is trained.
        run: Its learning rate, optimizer and batch size are used.
        model: In train mode.
        optimizer: Over the model's parameters.
        batch: Smaller than the run's batch size where a last batch is kept: the step is then scaled by its share.
        factor: Of the schedule.
        micro_batch_size: Examples per forward pass to begin with.
    """
    for group in optimizer.param_groups:
        group["lr"] = run.learning_rate * factor * (len(batch) / run.batch_size)
    loss, size = halving(
        micro_batch_size, list(model.buffers()), lambda size: gradient(task, model, optimizer, batch, size)
    )
    if run.optimizer.clip_norm is not None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.clip_norm)
    optimizer.step()
    return loss, size


def batches(task: Task, run: Run, device: torch.device, dtype: torch.dtype) -> Iterator[Examples]:
    """Yield the batches of a run, epoch after epoch, on `device`."""
    fixed = task.train.to(device, dtype) if isinstance(task.train, Examples) else None
    for epoch in itertools.count():
        data = fixed or task.train.epoch(run.seed, epoch).to(device, dtype)
        orders = {"order": generator(run.seed, "order", epoch), "base": generator(run.seed, "order base")}
        empty = True
        for indices in run.sampling.epoch(len(data), run.batch_size, number=epoch, **orders):
            empty = False
            chosen = indices.to(device)
            yield Examples(data.inputs.index_select(0, chosen), data.targets.index_select(0, chosen))
        if empty:
            return


def gradient(
    task: Task, model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: Examples, size: int
) -> float:  # fmt: skip
    """Leave the gradient of the objective on `batch` in the parameters, from micro-batches of `size`; return the loss.

    The sum over the batch is divided by its size, so that any split gives the gradient of the whole batch.
    """
    optimizer.zero_grad()
    total = 0.0
    for inputs, targets in batch.pieces(size):
        loss = task.losses(model(inputs), targets).sum() / len(batch)
        loss.backward()
        total += loss.item()
    if task.l2:
        penalty(task, model).backward()
    return total


def penalty(task: Task, model: torch.nn.Module) -> Tensor:
    """Return the L2 penalty of the objective, l2/2 |parameters|^2, as a scalar tensor."""
    squares = [parameter.square().sum() for parameter in model.parameters() if parameter.requires_grad]
    return torch.stack(squares).sum() * (task.l2 / 2)
