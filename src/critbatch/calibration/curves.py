"""Steps to target: curves, critical batch sizes and learning rate rules against planted truths."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ..analysis.heights import from_summaries, heights
from ..analysis.logged import fit_steps_to_target
from ..analysis.rates import best_rate
from ..analysis.target_curve import fit_curve, fit_heights
from ..curves.hyperbola import Hyperbola
from ..scaling_rule import ScalingRule
from ..scaling_rules.constant import Constant
from ..scaling_rules.linear import Linear
from ..scaling_rules.saturating import Saturating
from ..scaling_rules.square_root import SquareRoot
from ..worlds.sweeps import SweepWorld
from .check import Check, at_least, covers, exactly, holds, unbiased
from .instrument import Instrument

KIND = "curves"
WORLD = SweepWorld()
RULES: dict[str, ScalingRule] = {
    "constant": Constant(), "square_root": SquareRoot(), "linear": Linear(), "saturating": Saturating(),
}  # fmt: skip
WORLDS = {
    "5 seeds": WORLD,
    "3 seeds": dataclasses.replace(WORLD, seeds=3),
    "censored runs": dataclasses.replace(WORLD, budget=900.0),
}
FEW = 100  # studies, below which the slower checks are left out
TABLE_SIZES = np.array([1, 2, 4, 8, 16, 64, 256, 1024, 4096])


def checks(instrument: Instrument, studies: int) -> Iterator[Check]:
    """Yield the checks of curves and rules; `studies` for each coverage."""
    yield _path()
    for name, world in WORLDS.items():
        if studies > FEW or name != "3 seeds":
            yield from _coefficients(instrument, name, world, studies)
    yield from _unresolved(instrument, studies)
    yield _censored_height(instrument, studies)
    yield from _rules(instrument, studies)
    yield _true_rule(instrument, studies)
    if studies > FEW:
        yield from _tables(studies)
        yield _bootstrap(instrument, studies // 4)


def _path() -> Check:
    """Return the check that any noise scale along a path gives a hyperbola, and that it is found: T12."""
    scale = np.random.default_rng(21).uniform(1, 300, 40)
    sizes = np.array([1.0, 4, 16, 64, 256, 1024])
    found = Hyperbola().fit(sizes, np.array([(1 + scale / size).sum() for size in sizes]))
    detail = "E_min/S_min is the mean noise scale along the path, to 1e-9"
    return exactly(
        KIND, "hyperbola, T12", float(scale.mean()), float(found[1] / found[0]), tolerance=1e-9, detail=detail
    )


def _coefficients(instrument: Instrument, name: str, world: SweepWorld, studies: int) -> Iterator[Check]:
    generator = np.random.default_rng(22)
    truths = {"S_min": world.s_min, "E_min": world.e_min, "critical batch size": world.critical_batch_size}
    hits, valued = [], 0
    for _ in range(studies):
        fit = instrument.fit(instrument.choices(world, generator))
        known = dict(zip(truths, (fit.s_min, fit.e_min, fit.critical_batch_size), strict=True))
        hits.append([holds(known[one].low, known[one].high, truth) for one, truth in truths.items()])
        valued += fit.identified
    answered = np.arange(studies) < valued
    yield at_least(
        KIND, f"a critical batch size is found, {name}", 0.9, answered, detail="batch sizes on both sides of the bend"
    )
    detail = f"{name}, 6 batch sizes, 7 learning rates; identified in {100 * valued / studies:.0f} %"
    for one, column in zip(truths, np.array(hits).T, strict=True):
        yield covers(KIND, f"{one}, {name}", column, detail=detail)


def _unresolved(instrument: Instrument, studies: int) -> Iterator[Check]:
    """Yield the checks that batch sizes on one side of the bend give a bound and no number."""
    small = dataclasses.replace(WORLD, sizes=(1, 2, 4, 8, 16, 32))
    for name, world in (
        ("only B < B_crit/3", small),
        ("hardly a bend", dataclasses.replace(WORLD, s_min=0.5, noise=0.5)),
    ):
        generator = np.random.default_rng(23)
        found = [instrument.fit(instrument.choices(world, generator)).critical_batch_size for _ in range(studies)]
        silent = np.array([one.value is None for one in found])
        right = np.array([holds(one.low, one.high, world.critical_batch_size) for one in found])
        yield at_least(KIND, f"no number from {name}", 1.0, silent, detail="a bound and what to add instead")
        yield at_least(
            KIND, f"the bound holds, {name}", 0.92, right, detail="nominal 95 % or more: part of the set is cut off"
        )


def _censored_height(instrument: Instrument, studies: int) -> Check:
    """Return the check that runs stopped before they arrived do not make a batch size look fast."""
    world = dataclasses.replace(WORLD, budget=2500.0, noise=0.6, shared=0.0, skew=0.0, sizes=(1,))
    generator = np.random.default_rng(24)
    truth = float(np.log(world.s_min + world.e_min))
    found = []
    for _ in range(6 * studies):
        first = instrument.choices(world, generator)[1]
        if np.isfinite(first.scores).mean(-1).max() >= 0.5:
            found += [float(one) for one in heights({1: first}).logs[0, :1]]
    return _near(
        np.array(found), truth, 0.1, "log steps where a third of the runs is censored", "B = 1, bias below 0.1"
    )


def _near(draws: np.ndarray, truth: float, most: float, name: str, detail: str) -> Check:
    wide = unbiased(KIND, name, truth, draws, detail=detail)
    return dataclasses.replace(wide, passed=wide.low - most <= truth <= wide.high + most)


def _rules(instrument: Instrument, studies: int) -> Iterator[Check]:
    generator = np.random.default_rng(25)
    world = dataclasses.replace(WORLD, skew=0.0)
    exponents, rates = [], []
    for _ in range(studies):
        choices = instrument.choices(world, generator)
        found = instrument.rule(choices, RULES).exponent
        exponents.append(holds(found.low, found.high, world.exponent))
        one = best_rate(choices[16])
        rates.append(holds(one.low, one.high, float(world.best_rates()[2])))
    yield covers(KIND, "learning-rate exponent", np.array(exponents), detail="best rate ~ B^0.7")
    yield covers(KIND, "best learning rate", np.array(rates), detail="at B = 16")


def _true_rule(instrument: Instrument, studies: int) -> Check:
    generator = np.random.default_rng(26)
    world = dataclasses.replace(WORLD, exponent=0.5)
    kept = [
        "square_root" in instrument.rule(instrument.choices(world, generator), RULES).not_excluded
        for _ in range(studies)
    ]
    return covers(
        KIND, "the true rule is not excluded", np.array(kept), detail="square root, by the exponent's interval"
    )


def _tables(studies: int) -> Iterator[Check]:
    """Yield the coverage of B_crit from tables: seeds that are not paired, and means with standard deviations."""
    for how in ("unpaired runs", "means and standard deviations"):
        generator = np.random.default_rng(27)
        hits = []
        for _ in range(max(studies // 4, 50)):
            steps = (20 + 2000 / TABLE_SIZES)[:, None] * np.exp(0.2 * generator.normal(size=(9, 5)))
            if how == "unpaired runs":
                fit = fit_steps_to_target(list(np.repeat(TABLE_SIZES, 5)), list(steps.ravel()), thorough=False)
            else:
                given = from_summaries(TABLE_SIZES, steps.mean(1), steps.std(1, ddof=1), np.full(9, 5))
                fit = fit_heights(given, Hyperbola(), thorough=False)
            hits.append(holds(fit.critical_batch_size.low, fit.critical_batch_size.high, 100.0))
        yield covers(
            KIND, f"critical batch size, a table of {how}", np.array(hits), detail="9 batch sizes, 5 runs each"
        )


def _bootstrap(instrument: Instrument, studies: int) -> Check:
    generator = np.random.default_rng(28)
    hits = []
    for _ in range(studies):
        found = fit_curve(instrument.choices(WORLD, generator), Hyperbola()).bootstrap
        hits.append(found is not None and holds(found.low, found.high, WORLD.critical_batch_size))
    return covers(
        KIND, "critical batch size, bootstrap", np.array(hits), detail="5 seeds, beside the jackknife's", gate=False
    )
