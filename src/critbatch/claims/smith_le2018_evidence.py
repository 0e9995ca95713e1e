"""Smith and Le (2018): the Bayesian evidence says beforehand how well a linear model will test, and sees random labels."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar, final

import numpy as np
from scipy.stats import spearmanr
from typing_extensions import override

from ..bed import DIGITS, Bed
from ..budgets.steps import Steps
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import direction, verdict
from ..judging.protocol import runs, seeds
from ..judging.reading import last
from ..judging.two_regimes import by_seed
from ..measurements.evidence import BayesianEvidence
from ..optimizers.sgd import SGD
from ..plan import Plan, Run

LABELS = {"true": 0.0, "random": 1.0}
RATIO = "log_evidence_ratio"


@final
class EvidencePredicts(Claim):
    """Logistic regression of two digits on 400 images over six strengths of L2: evidence, and cross-entropy on the test set.

    Every seed has its own 400 images. The model is trained by all of them at once until it hardly moves: nothing is left
    to chance but which images there are. Evidence is Laplace's, over that of the model that calls both digits equally
    likely, in nats. With random labels it should be below 0 at every strength.
    """

    id = "SL-5"
    statement = "In a small linear model the Bayesian evidence predicts the test cross-entropy, random labels included."
    source = "Smith and Le (2018), arXiv:1710.06451, Section 3"
    about = "generalization"
    kinds = (Kind.TREND, Kind.DIRECTION)
    budget = "until the minimum: 6,000 steps of the whole training set"
    policy = "one rate, 0.5 with momentum 0.9"
    why_not_yours = "It needs a small linear model of your task, with penalties of several strengths and random labels."

    STRENGTHS: ClassVar[Mapping[Scale, tuple[float, ...]]] = {
        "full": (1e-4, 1e-3, 1e-2, 0.03, 0.1, 1.0), "smoke": (1e-2, 1.0),
    }  # fmt: skip

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        plain = Bed(train=400, side=7) if scale == "full" else dataclasses.replace(DIGITS, train=60)
        found = {
            _role(labels, strength, draw): dataclasses.replace(
                plain, hidden=(), classes=2, l2=strength, random_labels=share, draw=draw
            )
            for labels, share in LABELS.items() for strength in self.STRENGTHS[scale] for draw in seeds(scale)
        }  # fmt: skip
        return {"main": next(iter(found.values())), **found}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        def of_draw(labels: str, strength: float, draw: int) -> Plan:
            task = facts[_role(labels, strength, draw)]
            return runs(
                task, batch_sizes=[task.train_size or 1], rates=[0.5], seeds=[draw], optimizer=SGD(momentum=0.9),
                budget=Steps(6000 if scale == "full" else 300), measurements=(BayesianEvidence(per_decade=0),),
            )  # fmt: skip

        return {
            _arm(labels, strength): sum((of_draw(labels, strength, draw) for draw in seeds(scale)), Plan(()))
            for labels in LABELS
            for strength in self.STRENGTHS[scale]
        }

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        evidence, losses = (
            {labels: self._table(exhibit, labels, quantity) for labels in LABELS} for quantity in (RATIO, "test_loss")
        )
        told = {
            "unit": "rank correlation",
            "definition": "minus the Spearman correlation over strengths of log evidence and test cross-entropy, by seed",
        }
        nats = {"unit": "nats", "definition": "minus the largest log evidence over strengths, random labels, by seed"}
        highest = np.array([-row.max() for row in evidence["random"]])
        parts = [
            *(direction(f"the higher the evidence, the better the test: {labels} labels",
                        _trends(evidence[labels], losses[labels]), **told) for labels in LABELS),
            direction("with random labels the evidence is below that of knowing nothing", highest, **nats),
        ]  # fmt: skip
        strengths = list(self.STRENGTHS[exhibit.scale])
        size = exhibit.facts["main"].train_size or 1
        shown = {"log evidence per example": {one: table / size for one, table in evidence.items()},
                 "minus the test cross-entropy": {one: -table for one, table in losses.items()}}  # fmt: skip
        lines = tuple(
            line(f"{words}, {labels} labels", strengths, tables[labels])
            for words, tables in shown.items() for labels in LABELS if tables[labels].size
        )  # fmt: skip
        unfinished = [
            value for labels in LABELS for value in self._table(exhibit, labels, "evidence_unfinished").ravel()
        ]
        notes = [f"furthest from a minimum: {max(unfinished):.2g} nats"] if unfinished else []
        return verdict(self.id, exhibit, parts, notes=notes, figure=Figure("L2 strength", "nats per example", lines))

    def _table(self, exhibit: Exhibit, labels: str, quantity: str) -> np.ndarray:
        """Return a quantity where runs end, shape (seed, strength), of the seeds that have it at every strength."""
        columns = [
            by_seed(exhibit, _arm(labels, strength), last(quantity)) for strength in self.STRENGTHS[exhibit.scale]
        ]
        common = sorted(set.intersection(*(set(one) for one in columns)))
        return np.array([[one[seed] for one in columns] for seed in common]).reshape(len(common), len(columns))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        noise = 5.0 if world == "silent" else 1e-3

        def values(arm: str, run: Run, looks: np.ndarray) -> dict[str, np.ndarray | float]:
            labels, strength = arm.split()
            away = np.log10(float(strength) / 0.02)
            random = labels == "random"
            loss = 0.05 + 0.03 * away**2 if not random else 0.8 - 0.05 * away
            evidence = 250 - 3000 * loss if not random else 350 - 1000 * loss
            if world == "false":  # sees nothing of it, and likes random labels
                evidence = 900 * random - evidence
            found = {RATIO: evidence + 4 * generator.normal(), "test_loss": loss + noise * generator.normal()}
            return found | {"train_loss": 0.1, "evidence_unfinished": 0.0}

        return values


def _role(labels: str, strength: float, draw: int) -> str:
    return f"{labels} {strength:g} {draw}"


def _arm(labels: str, strength: float) -> str:
    return f"{labels} {strength:g}"


def _trends(evidence: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return minus the rank correlation of each pair of rows; NaN where one does not vary, nothing where rows differ."""
    if evidence.shape != losses.shape:
        return np.array([])
    return np.array([
        -spearmanr(one, other).statistic if np.ptp(one) > 0 and np.ptp(other) > 0 else np.nan
        for one, other in zip(evidence, losses, strict=True)
    ])  # fmt: skip
