"""Dinh et al. (2017): sharp minima can generalize, since sharpness depends on how a function is written down."""

import dataclasses
from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..bed import Bed, common_bed
from ..budgets.epochs import Epochs
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Part, Scale, Verdict, World
from ..estimate import Estimate
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import LEVEL, direction, nothing, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import last
from ..judging.two_regimes import POLICY, by_seed, log_ratios, measured_regimes, regime_bed
from ..measurements.rescaled_sharpness import RescaledSharpness
from ..plan import Plan, Run

SOURCE = "Dinh, Pascanu, Bengio and Bengio (2017), arXiv:1703.04933"
ALPHAS = {"full": (1.0, 2.0, 5.0, 10.0, 30.0, 100.0), "smoke": (1.0, 100.0)}
BATCH, RATE, EPOCHS = 16, 0.25, {"full": 30, "smoke": 4}
SAME_LOGITS = 1e-4
CHANGED = 10.0  # times
INVARIANT = 0.01
WHY = "Layers are rescaled in networks of linear layers with ReLU between them alone: see `critbatch measure`."


def rescaled_runs(facts: TaskFacts, scale: Scale) -> Plan:
    """Return plain trainings with measures of sharpness under rescaling at their ends."""
    measurement = RescaledSharpness(ALPHAS[scale], examples=1000 if scale == "full" else 64)
    return runs(
        facts, batch_sizes=[BATCH], rates=[RATE], seeds=seeds(scale), budget=Epochs(EPOCHS[scale]),
        measurements=(measurement,),
    )  # fmt: skip


@final
class SharpnessIsArbitrary(Claim):
    """The first layer of a trained network times alpha, the second divided by it: same function, how much sharper?

    Metric 2.1 in random directions, for which the source has no proof, is reported; and the smallest value over alpha,
    since rescaling can make a minimum flatter as well.
    """

    id = "DIN-1"
    statement = "Rescaling layers changes sharpness at will without changing the function."
    source = SOURCE
    about = "generalization"
    kinds = (Kind.EXACT,)
    budget = "none: at the end of plain trainings (30 epochs)"
    policy = "fixed: 0.25 at batch size 16"
    published = "theorems without experiments (paper)"
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": common_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"rescaled": rescaled_runs(facts["main"], scale)}

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        ranges = {name: _ratios(exhibit, name) for name in ("keskar", "eigenvalue", "keskar_random")}
        parts = [_same_function(exhibit)]
        words = {"keskar": "Metric 2.1 in the full space", "eigenvalue": "the Hessian's largest eigenvalue",
                 "keskar_random": "Metric 2.1 in random directions"}  # fmt: skip
        for name, values in ranges.items():
            part = _bound(f"{words[name]} changes", values.max(1) if values.size else np.array([]), at_least=CHANGED)
            parts.append(dataclasses.replace(part, counts=name != "keskar_random"))
        alphas = list(ALPHAS[exhibit.scale])
        lines = tuple(
            line(words[name], alphas, values, logarithmic=True) for name, values in ranges.items() if len(values)
        )
        notes = [
            f"smallest ratio of {words[name]}: {values.min():.3g}" for name, values in ranges.items() if values.size
        ]
        figure = Figure("alpha", "ratio to the network as it was trained", lines, log_y=True)
        return verdict(self.id, exhibit, parts, figure=figure, notes=notes)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return _made_up(world, generator, {"keskar": 1.0, "eigenvalue": 2.0, "keskar_random": 1.5})


MEASURES = {
    "keskar_adaptive": "Metric 2.1 without its +1", "elementwise": "adaptive sharpness, elementwise",
    "filter": "adaptive sharpness by filters", "fisher_rao": "the Fisher-Rao norm",
}  # fmt: skip
AGAIN = {
    "keskar_sharpness[adaptive,0.001]": "Metric 2.1 without its +1",
    "adaptive_sharpness[elementwise]": "adaptive sharpness, elementwise",
    "adaptive_sharpness[filter]": "adaptive sharpness by filters", "fisher_rao_norm": "the Fisher-Rao norm",
}  # fmt: skip
DECIDES = "adaptive_sharpness[elementwise]"


@final
class InvariantSharpness(Claim):
    """Four measures that rescaling should leave alone, and what they say of small and large batches (KES-2).

    Elementwise adaptive sharpness decides whether large batches are sharper; the others are reported. The measure was
    named before any data were seen.
    """

    id = "DIN-2"
    statement = (
        "Sharpness in the scale of the weights stays as it is under rescaling, and by it large batches are sharper too."
    )
    source = SOURCE + "; Kwon et al. (2021), arXiv:2102.11600; Liang et al. (2019), arXiv:1711.01530"
    about = "generalization"
    kinds = (Kind.EXACT, Kind.DIRECTION)
    budget = "invariance: none; batch sizes: equal epochs (100)"
    policy = POLICY
    published = (
        "Jiang et al. (2019): sharpness of Keskar's kind predicts generalization best over more than 10,000 models; "
        "Andriushchenko et al. (2023): adaptive sharpness correlates poorly, and follows the learning rate (second-hand)"
    )
    why_not_yours = WHY

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {"main": common_bed(scale), "regimes": regime_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return {"rescaled": rescaled_runs(facts["main"], scale)} | measured_regimes(facts["regimes"], scale)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        parts = [_same_function(exhibit)]
        for name, words in MEASURES.items():
            values = _ratios(exhibit, name)
            furthest = np.abs(values - 1).max(1) if values.size else np.array([])
            parts.append(_bound(f"{words} stays as it is", furthest, at_most=INVARIANT))
        told = {"unit": "log10 ratio", "definition": "log10 of the large batch's over the small one's"}
        for quantity, words in AGAIN.items():
            ends = [by_seed(exhibit, arm, last(quantity), role="regimes") for arm in ("large", "small")]
            parts.append(
                direction(f"{words}: larger for the large batch", log_ratios(*ends), counts=quantity == DECIDES, **told)
            )
        return verdict(self.id, exhibit, parts)

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        drifts = dict.fromkeys(MEASURES, 0.1 if world == "false" else 0.0)
        rescaled = _made_up("true", generator, drifts)
        noise = 2.0 if world == "silent" else 0.1

        def values(arm: str, run: Run, looks: np.ndarray) -> Mapping[str, np.ndarray | float] | None:
            if arm == "rescaled":
                return rescaled(arm, run, looks)
            return {one: 10 ** (0.5 * (arm == "large") + noise * generator.normal()) for one in AGAIN} | {
                "train_loss": 0.01
            }

        return values


def _ratios(exhibit: Exhibit, name: str) -> np.ndarray:
    """Return a measure over its value at alpha 1, shape (seed, alpha); seeds that lack one are left out."""
    columns = [by_seed(exhibit, "rescaled", last(f"rescaled_{name}[{alpha:g}]")) for alpha in ALPHAS[exhibit.scale]]
    common = sorted(set.intersection(*(set(one) for one in columns)))
    found = np.array([[one[seed] / columns[0][seed] for one in columns] for seed in common if columns[0][seed] > 0])
    return found.reshape(-1, len(columns))


def _same_function(exhibit: Exhibit) -> Part:
    columns = [
        by_seed(exhibit, "rescaled", last(f"rescaled_logit_change[{alpha:g}]")) for alpha in ALPHAS[exhibit.scale]
    ]
    common = sorted(set.intersection(*(set(one) for one in columns)))
    changes = np.array([max(one[seed] for one in columns) for seed in common])
    return _bound("the function stays the same: change of an output", changes, at_most=SAME_LOGITS, unit="logit")


def _bound(
    name: str, values: np.ndarray, *, at_least: float = -np.inf, at_most: float = np.inf, unit: str = "ratio"
) -> Part:  # fmt: skip
    """Return whether every seed's value is within bounds, told by the one that is nearest to falling outside."""
    upper = np.isfinite(at_most)
    threshold = f"at most {at_most:g} with every seed" if upper else f"at least {at_least:g} times with every seed"
    definition = "largest over alpha and seeds" if upper else "largest over alpha, smallest over seeds"
    if not len(values):
        return nothing(name, Kind.EXACT, "no run has it", unit, definition, threshold)
    worst = float(values.max() if upper else values.min())
    outcome = Outcome.SUPPORTED if at_least <= worst <= at_most else Outcome.REFUTED
    effect = Estimate(worst, None, None, LEVEL, len(values), unit, definition, definition)
    return Part(name, Kind.EXACT, outcome, effect, threshold)


def _made_up(world: World, generator: np.random.Generator, powers: Mapping[str, float]) -> Imagined:
    """Return measures that grow like powers of alpha; in a false world they hardly do, in a silent one no run ends."""

    def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float] | None:
        if world == "silent":
            return None
        found: dict[str, np.ndarray | float] = {"train_loss": 0.01}
        for name, power in powers.items():
            base = 10 ** (0.2 * generator.normal())
            for alpha in ALPHAS["full"]:
                rise = alpha ** (power if world == "true" else 0.1 * power)
                found[f"rescaled_{name}[{alpha:g}]"] = base * rise * (1 + 1e-4 * generator.normal() * (alpha > 1))
        return found | {f"rescaled_logit_change[{alpha:g}]": 1e-5 * (alpha > 1) for alpha in ALPHAS["full"]}

    return values
