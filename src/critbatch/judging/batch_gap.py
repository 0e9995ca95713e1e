"""A large batch against a small one, and what closes the gap between them: learning rate, ghost batches, updates.

The protocol of Hoffer, Hubara and Soudry (2017), arXiv:1705.08741, for their network F1, made small: momentum 0.9, weight
decay 1e-4, gradients clipped at norm 5, drops to a tenth at 1/5, 2/5 and 3/5 of the budget.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..bed import DIGITS, Bed
from ..budget import Budget
from ..budgets.epochs import Epochs
from ..budgets.steps import Steps
from ..claim import Exhibit, Imagined, Outcome, Part, Scale, World
from ..finding import TaskFacts
from ..optimizers.sgd import SGD
from ..plan import Plan, Run
from ..schedules.milestones import Milestones
from .parts import equivalence
from .protocol import runs, seeds
from .scaled import MIDDLE, base_rate, ends, tuning, turned

SMALL, LARGE = 32, 1024  # batch sizes
EPOCHS = {"full": 30, "smoke": 2}
OPTIMIZER = SGD(momentum=0.9, weight_decay=1e-4, clip_norm=5.0)
DROPS = Milestones(fractions=(0.2, 0.4, 0.6))


def gap_beds(scale: Scale) -> Mapping[str, Bed]:
    """Return the bed of batch normalisation and the bed of ghost batch normalisation; the large batch divides both."""
    smoke = DIGITS
    plain = smoke if scale == "smoke" else Bed(train=2048, hidden=(64, 64, 64))
    return {
        "main": dataclasses.replace(plain, norm="batch"),
        "ghost": dataclasses.replace(plain, norm=f"ghost-{SMALL}"),
    }


def sizes_of(facts: TaskFacts, scale: Scale) -> tuple[int, int]:
    """Return the small and the large batch size that a task has room for."""
    most = facts.train_size or LARGE
    return min(SMALL, most), min(LARGE if scale == "full" else LARGE // 4, most)


def tuned_small(facts: TaskFacts, scale: Scale) -> Plan:
    """Return the runs at the small batch size, from which the base rate is chosen."""
    small, _ = sizes_of(facts, scale)
    return tuning(facts, scale, small, budget=Epochs(EPOCHS[scale]), optimizer=OPTIMIZER, schedule=DROPS)


def large_arms(exhibit: Exhibit) -> dict[str, Plan]:
    """Return the arms of the paper's table, each with what the one before it has: rate, ghost batches, updates.

    Small batch; large batch; with the square-root rate; with it and ghost batch normalisation; with as many updates as
    the small batch, without and with ghost batch normalisation. Nothing if no base rate trained.
    """
    rate = base_rate(exhibit, "tuning")
    if rate is None:
        return {}
    scale, main = exhibit.scale, exhibit.facts["main"]
    small, large = sizes_of(main, scale)
    root = rate * (large / small) ** 0.5
    equal: Budget = Steps(round(EPOCHS[scale] * (main.train_size or small) / small))
    epochs = Epochs(EPOCHS[scale])

    def ask(role: str, size: int, learning_rate: float, budget: Budget) -> Plan:
        return runs(
            exhibit.facts[role], batch_sizes=[size], rates=[learning_rate], seeds=seeds(scale), budget=budget,
            optimizer=OPTIMIZER, schedule=DROPS,
        )  # fmt: skip

    found = {
        "small": ask("main", small, rate, epochs), "large": ask("main", large, rate, epochs),
        "rate": ask("main", large, root, epochs), "updates": ask("main", large, root, equal),
    }  # fmt: skip
    if "ghost" in exhibit.facts:
        found |= {"ghost": ask("ghost", large, root, epochs), "ghost updates": ask("ghost", large, root, equal)}
    return found


def final_metrics(exhibit: Exhibit) -> dict[str, np.ndarray]:
    """Return the test metric at the end of each arm, shape (seed,), higher is better; empty where there is none."""
    facts = exhibit.facts["main"]
    found = {}
    for arm in ("small", "large", "rate", "ghost", "updates", "ghost updates"):
        role = "ghost" if "ghost" in arm and "ghost" in exhibit.facts else "main"
        by_size = list(ends(exhibit, arm, f"test_{facts.metric}", role=role).values())
        found[arm] = turned(facts) * by_size[0] if by_size else np.array([])
    return found


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return paired differences (seed,), empty where one side has no run."""
    return one - other if len(one) == len(other) else np.array([])


def not_worse(name: str, differences: np.ndarray, *, margin: float, unit: str, definition: str) -> Part:
    """Return the test of "as good or better": EQUIVALENT within the margin, SUPPORTED above, REFUTED below minus it."""
    part = equivalence(name, differences, margin=margin, unit=unit, definition=definition)
    low = part.effect.low
    threshold = f"{part.threshold}, or 95% interval above 0; 95% interval below minus the margin refutes it"
    outcome = (
        Outcome.SUPPORTED if part.outcome is not Outcome.EQUIVALENT and low is not None and low > 0 else part.outcome
    )
    return dataclasses.replace(part, outcome=outcome, threshold=threshold)


def made_up_gap(world: World, generator: np.random.Generator, losses: Mapping[str, float]) -> Imagined:
    """Return what runs would record where each arm loses so much of the accuracy against the small batch."""
    noise = 0.06 if world == "silent" else 0.0015
    by_seed = generator.normal(size=64)

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
        lost = 0.003 * np.log2(run.learning_rate / MIDDLE) ** 2 if arm == "tuning" else losses.get(arm, 0.0)
        accuracy = 0.94 - lost + noise * (by_seed[run.seed] + generator.normal())
        return {"validation_accuracy": accuracy, "test_accuracy": accuracy, "train_loss": 0.1}

    return values
