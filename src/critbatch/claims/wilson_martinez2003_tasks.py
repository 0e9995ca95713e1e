"""WM-4: Wilson and Martinez (2003) on many tasks. Is batch training slower on most of them?"""

import math
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..bed import DIGITS, Bed
from ..budgets.epochs import Epochs
from ..budgets.longest import Longest
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Line, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.common_goal import common_goal, per_example, speech_bed, summed_sweep, tuned_examples
from ..judging.learners import Learner, imagined
from ..judging.parts import direction, nothing, verdict
from ..judging.protocol import common_budget, common_rates, runs, seeds
from ..judging.reading import arm_grid
from ..plan import Plan, Run
from ..statistics.signed_rank import signed_rank_test

TABLES = {  # UCI tables of Wilson and Martinez's kind, and 60 % of their rows
    "iris": 90, "wine": 106, "zoo": 61, "glass": 128, "heart.statlog": 162, "ionosphere": 211, "vote": 261,
    "australian": 414, "breast.w": 419, "vehicle": 508, "vowel": 594, "segment": 1386,
}  # fmt: skip
FEW = ("iris",)  # at smoke scale
OTHERS = {"digits": DIGITS, "images": Bed(), "speech": speech_bed("full")}
SEEDS = 5  # on tables: tasks are what is counted, not seeds
ONLINE = range(-4, 1)  # places on the ladder of rates per example: 0.01 to 1
BATCH = range(-1, 4)  # of the mean's rate: 0.3 to 30


@final
class ManyTasks(Claim):
    """Epochs to a goal of the whole training set as one batch over those of batch size 1, on 15 tasks.

    Twelve UCI tables with 60/20/20 splits (one hidden layer of 32 sigmoids), digits, MNIST 14 x 14 (the common sweep's
    runs) and spoken digits (those of WM-1). The goal is 90 % of the way to the end of batch size 1, not 95 %: some
    tables have only 20 to 60 rows to validate on. Tables on which a network of this kind barely beats the most frequent
    class are left out. A task on which one of the two does not get there is told and not counted.
    """

    id = "WM-4"
    statement = "On most tasks, small ones included, batch training takes more epochs than on-line training."
    source = "Wilson and Martinez (2003), Neural Networks 16, 1429-1451"
    about = "optimization"
    kinds = (Kind.DIRECTION,)
    budget = "to a common goal, within the longer of 50 epochs and 1,000 updates (30 and 2,000, or 100 and 1,500, off tables)"
    policy = "tuned at both batch sizes among five to seven rates, chosen by the other seeds"
    published = "27 tasks: batch training almost always slower, often by orders of magnitude (paper, abstract)"
    why_not_yours = "It counts tasks: one more would not decide it. WM-1 and QA-4 ask the same of a single task."

    share = 0.9
    fewest = 6  # tasks: fewer cannot bring the signed-rank test below 0.05

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        tables = {
            name: Bed(data=f"uci-{name}", train=rows, hidden=(32,), activation="sigmoid", side=0)
            for name, rows in TABLES.items()
            if scale == "full" or name in FEW
        }
        return tables | (OTHERS if scale == "full" else {})

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {role: _plan(role, one, scale) for role, one in facts.items()}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        ratios: dict[str, float] = {}
        missing: list[str] = []
        for role in exhibit.arms:
            logs = self._log_ratios(exhibit, role)
            if len(logs) > 1:
                ratios[role] = float(logs.mean())
            else:
                missing.append(role)
        values = np.array(list(ratios.values()))
        definition = "log of epochs to the goal, one batch over batch size 1, mean over seeds; tasks are the sample"
        parts = [
            direction("batch training takes more epochs", values, unit="log ratio", definition=definition)
            if len(values) >= self.fewest
            else nothing(
                "batch training takes more epochs", Kind.DIRECTION, f"only {len(values)} tasks have a ratio", "log ratio",
                definition, f"at least {self.fewest} tasks",
            ),
            self._ranks(values),
        ]  # fmt: skip
        notes = [f"{role}: {math.exp(one):.3g} times the epochs" for role, one in ratios.items()]
        if len(values):
            notes.insert(0, f"geometric mean over {len(values)} tasks: {math.exp(values.mean()):.3g} times the epochs")
        if missing:
            notes.append(f"not counted, the goal was not reached with both: {', '.join(missing)}")
        points = sorted(
            (float(exhibit.facts[role].train_size or 1), None, math.exp(one), None) for role, one in ratios.items()
        )
        figure = Figure(
            "training examples", "epochs of one batch over on-line", (Line("tasks", tuple(points)),), log_y=True
        )
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    def _log_ratios(self, exhibit: Exhibit, role: str) -> np.ndarray:
        """Return the log ratio of epochs of every seed that reached the goal with both batch sizes, shape (seed,)."""
        grid = arm_grid(exhibit, role, role=role)
        if len(grid.batch_sizes()) < 2:
            return np.array([])
        examples = tuned_examples(grid, common_goal(grid, share=self.share))
        logs = np.log(examples[:, -1] / examples[:, 0])
        return logs[np.isfinite(logs)]

    def _ranks(self, values: np.ndarray) -> Part:
        name, definition = (
            "so does it by ranks of the tasks",
            "median log ratio; Wilcoxon's signed-rank test over tasks",
        )
        threshold = "signed-rank test p < 0.05 and median above 0"
        if not len(values):
            return nothing(name, Kind.DIRECTION, "no task has a ratio", "log ratio", definition, threshold)
        middle, p_value = float(np.median(values)), signed_rank_test(values)
        effect = Estimate(middle, None, None, 0.95, len(values), "log ratio", "median over tasks", definition)
        clear = p_value < 0.05
        outcome = Outcome.INCONCLUSIVE if not clear else Outcome.SUPPORTED if middle > 0 else Outcome.REFUTED
        return Part(name, Kind.DIRECTION, outcome, effect, threshold, None, p_value)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        middle, spread = {"true": (2.0, 1.0), "false": (-1.0, 0.6), "silent": (0.0, 1.5)}[world]
        by_task: dict[str, Imagined] = {}

        def values(arm: str, run: Run, looks: np.ndarray) -> Mapping[str, np.ndarray | float] | None:
            if arm not in by_task:
                by_task[arm] = _imagined_task(math.exp(generator.normal(middle, spread)), generator)
            return by_task[arm](arm, run, looks)

        return values


def _plan(role: str, facts: TaskFacts, scale: Scale) -> Plan:
    """Return batch size 1 and the whole training set: runs of other claims' sweeps off the tables."""
    size = facts.train_size or 1
    if role == "speech":
        return summed_sweep(facts, scale, (1, size))
    if role in OTHERS:
        rates = {one: common_rates(facts, one, scale) for one in (1, size)}
        return runs(facts, batch_sizes=rates, rates=rates, seeds=seeds(scale), budget=common_budget(scale))
    is_full = scale == "full"
    rates = {
        one: [per_example(place) for place in (places if is_full else places[1:4:2])]
        for one, places in ((1, ONLINE), (size, BATCH))
    }
    budget = Longest((Epochs(50), Steps(1000))) if is_full else Longest((Epochs(4), Steps(80)))
    return runs(facts, batch_sizes=rates, rates=rates, seeds=range(SEEDS) if is_full else seeds(scale), budget=budget)


def _imagined_task(ratio: float, generator: np.random.Generator) -> Imagined:
    """Return a made-up task on which the whole training set as one batch needs `ratio` times the examples."""
    needed = 3000.0 if ratio < 3 else 400.0
    learner = Learner(
        examples=lambda size: needed if size == 1 else needed * ratio,
        best_rate=lambda size: 0.05 if size == 1 else 2.0,
        ceiling=lambda size: 0.9,
        spread=0.3,
        scatter=0.01,
    )
    return imagined(learner, generator)
