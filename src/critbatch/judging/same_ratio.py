"""Learning rate and batch size multiplied by the same factors: does the ratio of the two decide what training does?

The runs are those of the common sweep where it has them.
"""

from collections.abc import Mapping

import numpy as np

from ..analysis.grid import Track
from ..analysis.readings import position
from ..claim import Exhibit, Imagined, Part, Scale, World
from ..finding import TaskFacts
from ..plan import Plan, Run
from ..statistics.censoring import value_at
from .pairs import BySeed, differences
from .parts import direction, metric_margin
from .protocol import common_budget, common_row, middle_size, runs, seeds
from .reading import arm_grid, at, chosen_rate, worse
from .scaled import all_equal, turned
from .two_regimes import by_seed

EPOCHS = {"full": 30, "smoke": 4}
FACTORS = (0.25, 1.0, 4.0)
SLOW = (1, 8)  # by which the best rate is divided; from 1, which decides, four times as much may not be stable
SHOWN = 12  # places on a training curve
TINY = 1e-12  # below any loss that is told apart from 0
POLICY = "the best at batch size 64 on validation, then in proportion to the batch size"
BUDGET = "equal epochs (30)"


def first_row(facts: TaskFacts, scale: Scale) -> dict[str, Plan]:
    """Return the runs of the common sweep at its middle batch size, among which the rate is chosen."""
    return {"tuning": common_row(facts, scale, middle_size(facts, scale))}


def ratio_arms(exhibit: Exhibit) -> dict[str, Plan]:
    """Return one arm for each factor; nothing if no rate trained."""
    facts, scale = exhibit.facts["main"], exhibit.scale
    grid = arm_grid(exhibit, "tuning")
    if not grid.batch_sizes():
        return {}
    size = grid.batch_sizes()[0]
    select = worse(grid, at("epochs", EPOCHS[scale], f"{facts.selection_split}_{facts.metric}", facts))
    rate = chosen_rate(grid, size, score=select)
    if rate is None:
        return {}
    found = {}
    for factor in FACTORS:
        scaled = min(max(1, round(size * factor)), facts.train_size or size)
        for slow in SLOW:
            found[arm_of(factor, slow)] = runs(
                facts, batch_sizes=[scaled], rates=[rate / slow * scaled / size], seeds=seeds(scale),
                budget=common_budget(scale),
            )  # fmt: skip
    return found


def arm_of(factor: float, slow: int = 1) -> str:
    """Return the name of the arm of a factor, at the best rate or a part of it."""
    return f"times {factor:g}" + (f", rate / {slow}" if slow > 1 else "")


def same_ends(exhibit: Exhibit) -> list[Part]:
    """Return the tests of "the test metric is the same at every factor": at the best rate, and far below it, reported."""
    return [_same_end(exhibit, slow) for slow in SLOW]


def _same_end(exhibit: Exhibit, slow: int) -> Part:
    facts = exhibit.facts["main"]
    read = at("epochs", EPOCHS[exhibit.scale], f"test_{facts.metric}", facts)
    tests: dict[float, BySeed] = {factor: by_seed(exhibit, arm_of(factor, slow), read) for factor in FACTORS}
    apart = [turned(facts) * differences(tests[1.0], tests[factor]) for factor in FACTORS if factor != 1.0]
    margin = metric_margin(facts, np.array(list(tests[1.0].values())))
    return all_equal(
        "with the same ratio it tests the same" + (f", at the best rate / {slow}" if slow > 1 else ""), apart,
        margin=margin, unit=f"test {facts.metric}", counts=slow == 1,
        definition=f"test {facts.metric} at factor 1 less that at factor 1/4 or 4",
    )  # fmt: skip


def same_curves(exhibit: Exhibit) -> list[Part]:
    """Return the tests of "training curves of one seed differ less between two factors than those of two seeds do"."""
    return [_same_curve(exhibit, factor, slow) for slow in SLOW for factor in FACTORS if factor != 1.0]


def _same_curve(exhibit: Exhibit, factor: float, slow: int) -> Part:
    middle, scaled = by_curves(exhibit, 1.0, slow), by_curves(exhibit, factor, slow)
    leads = [
        np.mean([np.abs(other - own).mean() for one, other in middle.items() if one != seed])
        - np.abs(scaled[seed] - own).mean()
        for seed, own in middle.items()
        if seed in scaled and len(middle) > 1
    ]
    return direction(
        f"at factor {factor:g} the training curve is nearer than another seed's"
        + (f", at the best rate / {slow}" if slow > 1 else ""),
        np.array(leads), unit="ln loss", counts=slow == 1,
        definition="mean distance of the log training loss from other seeds' at factor 1, less that from the seed's own there",
    )  # fmt: skip


def by_curves(exhibit: Exhibit, factor: float, slow: int = 1) -> dict[int, np.ndarray]:
    """Return log training losses at places a constant ratio of epochs apart, by seed; none of runs that diverged."""
    if arm_of(factor, slow) not in exhibit.arms:
        return {}
    grid = arm_grid(exhibit, arm_of(factor, slow))
    places = places_of(exhibit.scale)
    found = {}
    for rates in grid.tracks.values():
        for row in rates.values():
            curves = {seed: _curve(track, places, grid.facts) for seed, track in row.items() if track.completed}
            found |= {seed: one for seed, one in curves.items() if np.isfinite(one).all()}
    return found


def places_of(scale: Scale) -> np.ndarray:
    """Return the epochs at which curves are compared."""
    return np.geomspace(1, EPOCHS[scale], SHOWN)


def _curve(track: Track, places: np.ndarray, facts: TaskFacts) -> np.ndarray:
    logs = np.log(np.maximum(track.values["train_loss"], TINY))
    epochs = position(track, "epochs", facts.train_size)
    return np.array([value_at(epochs, logs, place) for place in places])


def made_up_ratio(world: World, generator: np.random.Generator) -> Imagined:
    """Return what runs would record where the ratio decides, or where a factor of 4 costs two points."""
    noise = 0.015 if world == "silent" else 0.002
    of_seed = generator.normal(size=64)

    def values(arm: str, run: Run, looks: np.ndarray) -> Mapping[str, np.ndarray | float]:
        lost = 0.02 if world == "false" and arm.startswith(arm_of(4.0)) else 0.0
        if arm == "tuning":
            lost = 0.003 * np.log2(run.learning_rate / 0.5) ** 2
        test = 0.91 - lost + noise * (of_seed[run.seed] + generator.normal())
        share = looks * run.batch_size / 2000
        slow = 0.1 * of_seed[run.seed] + (0.01 if world != "silent" else 0.12) * generator.normal()
        loss = np.exp(-0.2 * share**0.5 + slow + 10 * lost * (arm != "tuning"))
        return {"test_accuracy": test, "validation_accuracy": test, "train_loss": loss}

    return values
