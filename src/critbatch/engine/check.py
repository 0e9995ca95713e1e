"""A fast tier is not believed: its first steps are held against the plain loop's, in double precision."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

import torch

from ..data import Examples
from ..derivatives import per_example_gradients
from ..plan import Run
from ..randomness import seed_of
from ..task import Task
from .native.values import Unsupported
from .replicas import Replicas
from .sequential import take_step
from .step import Step
from .together import block, pieces

STEPS = 5
EPOCH = 100_000  # batches in which a smaller one is looked for
TOLERANCE = 1e-9  # in float64, relative to 1 + |number|: rounding alone leaves 1e-16 to 1e-12 here
OTHER_SEED = 1  # not the seed that the step is traced with: what depends on the seed must not have been baked in


def check_steps(task: Task, run: Run, device: torch.device, make: Callable[[Run], tuple[Step, Replicas]]) -> None:
    """Do nothing if a few steps of a tier in float64 are those of the plain loop: losses, parameters and buffers.

    Args:
        task: What is trained.
        run: Its seed, learning rate and dtype do not matter.
        device: Where.
        make: Returns the step and the tier's replicas for a cohort of the given run alone.

    Raises:
        Unsupported: If they are not; the message says by how much.
    """
    exact = dataclasses.replace(
        run, dtype="float64", seed=OTHER_SEED, learning_rate=run.optimizer.first_learning_rate, measurements=()
    )
    step, replicas = make(exact)
    batches = _few_of_each_size(task, exact, device)
    losses, model = _plain(task, exact, device, batches)
    found, taken = [], 0
    for (size, _), group in itertools.groupby(batches, key=lambda piece: (len(piece[1]), id(piece[0]))):
        some = list(group)
        found.append(replicas.advance([0], block([exact], {exact.seed: some}, [1.0] * len(some), taken, size))[0])
        taken += len(some)
    ours, theirs = step.start(replicas.module(0)), step.start(model)
    pairs = zip(
        [torch.cat(found), *ours.parameters, *ours.buffers], [losses, *theirs.parameters, *theirs.buffers], strict=True
    )
    worst = max(_difference(one, other) for one, other in pairs)
    if not worst <= TOLERANCE:
        raise Unsupported(
            f"{len(batches)} of its steps in float64 differ by {worst:.1g} (relative) from the plain loop's, which is "
            f"more than {TOLERANCE:g}"
        )


def _few_of_each_size(task: Task, run: Run, device: torch.device) -> list[tuple[Examples, torch.Tensor]]:
    """Return some batches of the first epochs and of those that bring other sizes, whole ones first.

    A smaller last batch is among them. They are more than the update rule takes to begin anew.
    """
    steps, found = max(STEPS, run.optimizer.cycle + 1), []
    begins = run.sampling.changes
    for begin, end in zip(begins, (*begins[1:], math.inf), strict=True):
        most = steps if isinstance(task.train, Examples) else 1  # fresh data take time and memory
        epochs = range(begin, int(min(begin + most, end)))
        some = list(itertools.islice(pieces(task, run, run.seed, device, epochs), EPOCH))
        largest = max((len(index) for _, index in some), default=0)
        whole = [piece for piece in some if len(piece[1]) == largest]
        found += [*whole[:steps], *(piece for piece in some if len(piece[1]) < largest)][: steps + 1]
    return found


def _plain(
    task: Task, run: Run, device: torch.device, batches: Sequence[tuple[Examples, torch.Tensor]]
) -> tuple[torch.Tensor, torch.nn.Module]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed_of(run.seed, "forward"))
        model = task.initialise(run.seed).to(device, torch.float64).train()
        optimizer = run.optimizer.build(model.parameters(), run.learning_rate)
        losses = []
        for data, indices in batches:
            chosen = indices.to(device)
            batch = Examples(data.inputs.index_select(0, chosen), data.targets.index_select(0, chosen))
            losses.append(take_step(task, run, model, optimizer, batch, 1.0, run.batch_size)[0])
    return torch.tensor(losses, dtype=torch.float64), model


def _difference(one: torch.Tensor, other: torch.Tensor) -> float:
    if one.shape != other.shape:
        return float("inf")
    one, other = one.double().cpu(), other.double().cpu()
    if not bool(one.isfinite().all()):
        return float("nan")
    return float(((one - other).abs() / (1 + other.abs())).max()) if one.numel() else 0.0


def check_look(task: Task, replicas: Replicas, parts: Sequence[Examples], model: torch.nn.Module) -> bool:
    """Return whether a tier's evaluation of replica 0 is that of `model`, which has the same numbers."""
    model.eval()
    with torch.no_grad():
        for part in parts:
            found = replicas.means(0, part)
            if found is None:
                return False
            outputs = torch.cat([model(inputs) for inputs, _ in part.pieces(2048)])
            loss = float(task.losses(outputs, part.targets).mean(dtype=torch.float64))
            values = task.metric.values(outputs, part.targets)
            metric = float(values.mean(dtype=torch.float64))
            ties = 2 / len(part) if bool(((values == 0) | (values == 1)).all()) else 0.0  # two examples at a tie
            near = 1e-4 * (1 + abs(loss)), 1e-4 * abs(metric) + 1e-6 + ties
            if abs(found[0] - loss) > near[0] or abs(found[1] - metric) > near[1]:
                return False
    return True


def check_sums(task: Task, replicas: Replicas, few: Examples, model: torch.nn.Module) -> bool:
    """Return whether a tier's sums of gradients of replica 0 are those of `model`, which has the same numbers."""
    found = replicas.gradient_sums(0, few.inputs, few.targets)
    each = per_example_gradients(model.train(), task.losses, few.inputs, few.targets).double()
    if found is None or not math.isfinite(found[1]):
        return False
    pairs = (float(found[0].norm()), float(each.sum(0).norm())), (found[1], float(each.square().sum()))
    return all(abs(one - other) <= 1e-4 * abs(other) + 1e-12 for one, other in pairs)
