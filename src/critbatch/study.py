"""The main job: design -> runs -> evidence -> finding with a recommendation."""

import dataclasses
import functools
import math
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol, final, runtime_checkable

import torch

from .advice import recommend
from .analysis.assemble import Circumstances, assemble, choices
from .analysis.choice import Choice
from .analysis.grid import grid
from .analysis.ramps import apart, best_runs, first_batches
from .budget import Budget
from .budgets.longest import Longest
from .budgets.seconds import Seconds
from .claims import judge_sweep
from .curves.hyperbola import Hyperbola
from .data import Examples
from .design import MOST_EXTENSIONS, Design
from .engine.population import Engine, look_seconds, survey, train
from .execute import execute
from .executor import Executor
from .finding import Finding, TaskFacts
from .judging.sweep import exhibit_of_sweep
from .measurement import look_steps
from .measurements.noise_moments import NoiseMoments
from .plan import Plan, Run, RunResult
from .randomness import one_thread
from .record import Ending, Evidence
from .scaling_rule import ScalingRule
from .scaling_rules.constant import Constant
from .scaling_rules.linear import Linear
from .scaling_rules.saturating import Saturating
from .scaling_rules.square_root import SquareRoot
from .scaling_rules.surge import Surge
from .store import Store, Study
from .task import Target, Task

RULES: dict[str, ScalingRule] = {
    "constant": Constant(), "square_root": SquareRoot(), "linear": Linear(), "saturating": Saturating(), "surge": Surge(),
}  # fmt: skip
SWEEP = "sweep"  # the kind of study that `analyse` reads
PACKAGES = ("critbatch", "torch", "numpy", "scipy", "polars", "scikit-learn")
UNDIVIDED = 4e6  # examples: a few seconds of a small model
MOST_COHORT_SECONDS = 60.0  # in the plain loop: what a killed worker may lose
COHORT = 64  # runs that may train together
OVERHEAD_EXAMPLES = {"sequential": 300, "population": 10, "auto": 10}  # what a step costs besides, in examples


@runtime_checkable
class Watcher(Protocol):
    """Whoever wants to know how a sweep is going."""

    def stage(self, name: str, costs: Mapping[str, float]) -> None:
        """Note that a stage begins that has to train these runs: expected cost by run id, in any unit."""

    def finished(self, result: RunResult) -> None:
        """Note that a run has ended and is kept."""


@final
class Silent:
    """A watcher that shows nothing."""

    def stage(self, name: str, costs: Mapping[str, float]) -> None:
        """Show nothing."""

    def finished(self, result: RunResult) -> None:
        """Show nothing."""


@final
@dataclass(frozen=True)
class Workshop:
    """Where a study is carried out, and who watches.

    Attributes:
        command: Goes into the report.
        target: Replaces the task's.
        margin: Within which differences of the test metric count as none; None for the default.
    """

    store: Store
    executor: Executor
    device: str = "cpu"
    engine: Engine = "auto"
    watcher: Watcher = dataclasses.field(default_factory=Silent)
    command: str = ""
    target: Target | None = None
    margin: float | None = None


@final
class Progress:
    """A study under way: the plan so far, every stage of which is kept in the store before it is trained."""

    def __init__(self, task: Task, design: Design, workshop: Workshop, kind: str = SWEEP) -> None:
        self.task = task
        self.kind = kind
        self.design = design
        self.workshop = workshop
        facts = task_facts(task, workshop.target or task.target)
        self.facts = dataclasses.replace(facts, equivalence_margin=workshop.margin)
        self.planned = planned_steps(task, design)
        self.example_seconds = example_seconds(task)
        self.plan = Plan(())

    def run(self, stage: str, more: Plan) -> Evidence:
        """Train what the store lacks of `more` and return the evidence of `more`."""
        self.plan += more
        self.workshop.store.put_study(self.study())
        return train_missing(self.task, more, self.workshop, stage, self.planned, self.example_seconds)

    def choices(self, evidence: Evidence) -> dict[int, Choice]:
        """Return the learning rate choice of each batch size in `evidence`."""
        return choices(evidence, self.facts)[1]

    def study(self) -> Study:
        """Return what the store keeps of the study."""
        plan = self.design.describe() | {"runs": len(self.plan), "command": self.workshop.command}
        description = {
            "facts": dataclasses.asdict(self.facts),
            "device": describe_device(self.workshop.device),
            "versions": versions(),
            "plan": plan,
            "kind": self.kind,
        }
        name = self.task.name if self.kind == SWEEP else f"{self.task.name} ({self.kind})"
        return Study(name, tuple(one.id for one in self.plan.runs), description)


def train_missing(
    task: Task, more: Plan, shop: Workshop, stage: str, planned: Mapping[int, float], seconds_each: float
) -> Evidence:  # fmt: skip
    """Train what the store lacks of the runs of `more`, all of one task, and return their evidence.

    Args:
        task: What is trained.
        more: The runs.
        shop: Where they are trained, kept and watched.
        stage: What the watcher is told.
        planned: Steps of all runs that are still to come, by batch size.
        seconds_each: About what a training example takes.
    """
    cost = functools.partial(expected_cost, train_size=len(task.train), engine=shop.engine)
    done = shop.store.finished(one.id for one in more.runs)
    shop.watcher.stage(stage, {one.id: cost(one) for one in more.runs if one.id not in done})
    return execute(
        more,
        {task.name: task},
        store=shop.store,
        executor=shop.executor,
        train=functools.partial(train, device=shop.device, engine=shop.engine, planned=planned),
        cohort_size=1 if shop.engine == "sequential" else COHORT,
        cost=cost,
        cohort_costs=(UNDIVIDED, MOST_COHORT_SECONDS / seconds_each),
        on_result=shop.watcher.finished,
    )


def carry_out(task: Task, design: Design, workshop: Workshop) -> tuple[Finding, Evidence]:
    """Return what a sweep of `design` finds on `task`, and its evidence.

    Learning rates are searched in three stages unless the design names them: a coarse pilot with one seed, a grid of
    seven with all seeds around each batch size's best, and extensions until the best lies inside. Then the best cell of
    a middle batch size is trained again with the gradient noise measured, and every batch size's best cell on fresh
    seeds, whose numbers its choice does not flatter. Runs that the store has are taken from there,
    so that a stopped study goes on where it was.

    Args:
        task: What to train.
        design: What to vary.
        workshop: Where to train and to keep the results.
    """
    progress = Progress(task, design, workshop)
    same_device(progress)
    centres = {} if design.learning_rates else _centres(progress)
    if centres is not None:
        _train_grid(progress, centres)
    study = progress.study()
    evidence = workshop.store.evidence(study.run_ids)
    return analyse(study, evidence), evidence


def same_device(progress: Progress) -> None:
    """Do nothing if the store's runs of this task are from the same device.

    Raises:
        ValueError: If they are not: their seconds would be mixed up.
    """
    here = describe_device(progress.workshop.device)
    for study in progress.workshop.store.studies():
        facts, there = study.description["facts"], study.description["device"]
        if facts["revision"] == progress.facts.revision and there != here:
            raise ValueError(
                f"the store holds runs of task {progress.task.name!r} from {there}; this is {here}. Seconds of two devices "
                "cannot be compared: give another --out or --store."
            )


def _train_grid(progress: Progress, centres: dict[int, float]) -> None:
    """Train the grid around `centres`, the middle batch size's best cell with its gradient noise, and fresh seeds."""
    design, task = progress.design, progress.task
    found = bracketed(progress, "grid", design.grid(task, centres), factor=2.0, seeds=design.seeds)[1]
    chosen = {size: one.best_rate for size, one in found.items() if one.best_rate is not None}
    if chosen:
        middle = min(chosen, key=lambda size: abs(math.log(size) - math.log(len(task.train)) / 2))
        progress.run("gradient noise", design.measured(task, middle, chosen[middle], (NoiseMoments(),)))
        if design.minima:
            progress.run("solutions", design.ends(task, chosen))
        if design.fresh_seeds:
            progress.run("fresh seeds", design.confirmed(task, chosen))
        if design.ramps:
            _train_ramps(progress, chosen)


def _train_ramps(progress: Progress, rates: Mapping[int, float]) -> None:
    """Train batch sizes that change, tuned as fixed ones were; then the best cell of each policy on fresh seeds."""
    design, task, store = progress.design, progress.task, progress.workshop.store
    arranged = grid(store.evidence(run.id for run in progress.plan.runs), progress.facts, seeds=design.seeds)
    first, target = first_batches(arranged, rates), progress.workshop.target or task.target
    if not first or target is None:
        return
    plan = design.steered(task, {size: (rates[size], *needed) for size, needed in first.items()}, target)
    best = best_runs(progress.run("changing batch sizes", plan), arranged, seed=design.seeds[0])
    chosen = [run for run in plan.runs if run.id in best]
    more = [dataclasses.replace(run, seed=seed) for run in chosen for seed in design.fresh_seeds]
    if more:
        progress.run("changing batch sizes, fresh seeds", Plan(tuple(more)))


def analyse(study: Study, evidence: Evidence) -> Finding:
    """Return the finding of a study from its evidence; nothing is trained."""
    described = study.description
    facts = TaskFacts(**described["facts"])
    circumstances = Circumstances(described["device"], described["versions"], described["plan"])
    finding = recommend(assemble(evidence, facts, circumstances, curve=Hyperbola(), rules=RULES))
    open_ends = [one.batch_size for one in finding.batch_sizes if one.learning_rate_at_edge != "none"]
    exhibit = exhibit_of_sweep(apart(evidence)[0], facts, described["plan"])
    return dataclasses.replace(finding, claims=() if exhibit is None else judge_sweep(exhibit, open_ends))


def expectation(task: Task, design: Design, device: str, workers: int, engine: Engine) -> dict[str, Any]:
    """Return what a study will take: runs, at most how many, seconds, and which engine trains each batch size.

    Steps and looks are timed at each batch size on this device, in the engine that the sweep would choose there.
    """
    design.check(task)
    check_device(device)
    with one_thread():  # as in a worker process
        return _expectation(task, design, device, workers, engine)


def _expectation(task: Task, design: Design, device: str, workers: int, engine: Engine) -> dict[str, Any]:
    runs, most = design.size()
    tiers, total = [], 0.0
    planned = planned_steps(task, design)
    rates = tuple(design.learning_rates[:1]) or (design.optimizer.first_learning_rate,)
    for size in design.batch_sizes:
        one = dataclasses.replace(design, batch_sizes=(size,), seeds=design.seeds[:1], learning_rates=rates)
        run = one.grid(task, {}).runs[0]
        chosen = survey(task, run, torch.device(device), engine, planned[size])
        seconds = _budget_seconds(design.budget, size, len(task.train), chosen.seconds)
        looks = sum(step <= seconds / chosen.seconds for step in look_steps())
        seconds += looks * look_seconds(task, run, torch.device(device), chosen)
        total += seconds * runs / len(design.batch_sizes)
        tiers.append({
            "batch_size": size, "tier": chosen.tier, "reason": chosen.reason, "step_seconds": chosen.seconds,
            "plain_step_seconds": chosen.plain_seconds, "run_seconds": seconds,
        })  # fmt: skip
    return {
        "task": task.name, "batch_sizes": list(design.batch_sizes), "seeds": len(design.seeds), "runs": runs,
        "most_runs": most, "seconds": total / workers, "workers": workers, "engine": tiers,
    }  # fmt: skip


def _budget_seconds(budget: Budget, batch_size: int, train_size: int, step: float) -> float:
    if isinstance(budget, Longest):
        return max(_budget_seconds(one, batch_size, train_size, step) for one in budget.budgets)
    return budget.seconds if isinstance(budget, Seconds) else budget.most_steps(batch_size, train_size) * step


def task_facts(task: Task, target: Target | None) -> TaskFacts:
    """Return what has to be known about `task` to read its evidence without it."""
    direction = None if target is None else task.better(target.quantity)
    if target is not None and target.direction != "declared":
        direction = target.direction
    return TaskFacts(
        name=task.name,
        revision=task.revision,
        train_size=len(task.train),
        test_size=len(task.test),
        validation_size=None if task.validation is None else len(task.validation),
        parameters=sum(one.numel() for one in task.initialise(0).parameters() if one.requires_grad),
        metric=task.metric.name,
        better=task.metric.better,
        selection_split=task.selection_split,
        target_quantity=None if target is None else target.quantity,
        target_value=None if target is None else target.value,
        target_direction=direction,
        target_origin="given" if target else "none",
    )


def expected_cost(run: Run, train_size: int, engine: Engine) -> float:
    """Return what a run should take, in examples: those it sees, and a constant for each step."""
    steps = run.budget.most_steps(run.batch_size, train_size)
    return 1.0 if math.isinf(steps) else steps * (run.batch_size + OVERHEAD_EXAMPLES[engine])


@torch.no_grad()
def example_seconds(task: Task, size: int = 64) -> float:
    """Return about what one training example takes in a large batch: three forward passes' time."""
    model = task.initialise(0).eval()
    dtype = next(model.parameters()).dtype
    few = Examples(task.test.inputs[:size], task.test.targets[:size]).to(torch.device("cpu"), dtype)
    times = []
    for _ in range(3):
        started = time.perf_counter()
        model(few.inputs)
        times.append(time.perf_counter() - started)
    return 3 * min(times) / len(few)


def planned_steps(task: Task, design: Design) -> dict[int, float]:
    """Return the steps of all runs of each batch size together."""
    runs = design.size()[0] / len(design.batch_sizes)
    return {size: design.budget.most_steps(size, len(task.train)) * runs for size in design.batch_sizes}


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a number."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def check_device(device: str) -> None:
    """Do nothing if tensors can be put on `device`.

    Raises:
        ValueError: If they cannot; the message says what torch said.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"`--device {device}`: not to be used here: {reason}. Use cpu, or a device of this machine."
        ) from error


def describe_device(device: str) -> str:
    """Return the device in words."""
    if device.startswith("cuda"):
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device} ({platform.machine()}, {os.cpu_count()} cores, {platform.system()})"


def _centres(progress: Progress) -> dict[int, float] | None:
    """Return a learning rate for each batch size around which its grid is laid, from runs with one seed.

    None if every run FAILED: then the grid would fail too.
    """
    design, task = progress.design, progress.task
    evidence, chosen = bracketed(progress, "pilot", design.pilot(task), factor=4.0, seeds=design.seeds[:1])
    if _all_failed(evidence):
        return None
    found = {size: one.best_rate for size, one in chosen.items()}
    first = design.optimizer.first_learning_rate
    return {size: found.get(size) or first for size in design.batch_sizes}


def bracketed(
    progress: Progress, stage: str, plan: Plan, *, factor: float, seeds: tuple[int, ...]
) -> tuple[Evidence, dict[int, Choice]]:  # fmt: skip
    """Return the evidence of `plan`, extended until each batch size's best learning rate lies inside; and the choices."""
    evidence = progress.run(stage, plan)
    chosen = progress.choices(evidence)
    for attempt in range(1, 1 if _all_failed(evidence) else MOST_EXTENSIONS + 1):
        more = progress.design.extended(progress.task, chosen, factor=factor, seeds=seeds)
        if more is None:
            break
        progress.run(f"{stage}, extension {attempt}", more)
        plan += more
        evidence = progress.workshop.store.evidence(one.id for one in plan.runs)
        chosen = progress.choices(evidence)
    return evidence, chosen


def _all_failed(evidence: Evidence) -> bool:
    return bool((evidence.runs["ending"] == Ending.FAILED.name).all())
