"""Chaudhari and Soatto (2017): what keeps SGD's regularization when batches grow: the rate, or drawing with replacement."""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..bed import Bed
from ..claim import Claim, Exhibit, Figure, Imagined, Kind, Outcome, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.figures import line
from ..judging.parts import verdict
from ..judging.same_ratio import BUDGET, POLICY, first_row, made_up_ratio, ratio_arms, same_ends
from ..judging.three_samplings import (
    PARTITIONED,
    RESHUFFLED,
    ROLE,
    UPDATES,
    WITH,
    Samplings,
    sampling_arms,
    sampling_bed,
)
from ..plan import Plan, Run


@final
class ProportionalRateKeepsRegularization(Claim):
    """The runs of JAS-2, judged by their test metric alone.

    Regularization is what the test says: that the stationary distribution stays the same is not tested.
    """

    id = "CS-4"
    statement = "A learning rate in proportion to the batch size keeps the regularization by gradient noise."
    source = "Chaudhari and Soatto (2017), arXiv:1710.11029, Section 3"
    about = "generalization"
    kinds = (Kind.EQUIVALENCE,)
    budget = BUDGET
    policy = POLICY
    published = "follows from the temperature, learning rate over twice the batch size (paper)"

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return first_row(facts["main"], scale)

    @override
    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        return ratio_arms(exhibit)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        return verdict(self.id, exhibit, same_ends(exhibit))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        return made_up_ratio(world, generator)


@final
class ReplacementGeneralizesBetter(Claim):
    """The three samplings of H3, judged by themselves: does drawing with replacement gain, and the more the larger the batch?

    At the size of the training set, batches drawn in a new order are the whole set: gradient descent. There the claim is
    decided; a gain that does not grow with the batch size leaves it open.
    """

    id = "CS-5"
    statement = "At large batch sizes, batches drawn with replacement generalize better than those drawn without."
    source = "Chaudhari and Soatto (2017), arXiv:1710.11029, Remark 12"
    about = "generalization"
    kinds = (Kind.DIRECTION, Kind.TREND)
    budget = f"equal updates ({UPDATES['full']:,})"
    policy = "tuned at each batch size among three rates a factor of 2 apart, by the other seeds"
    published = "noise of 1/(2b) with replacement, (1 - b/N)/(2b) without; no experiment (paper)"
    why_not_yours = "It trains on batches of your whole training set, a thousand times for every rate and seed."

    @override
    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        return {ROLE: sampling_bed(scale)}

    @override
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        return sampling_arms(facts[ROLE], scale)

    @override
    def judge(self, exhibit: Exhibit) -> Verdict:
        samplings = Samplings(exhibit)
        parts = (samplings.whole_set(), samplings.trend(), samplings.whole_set(PARTITIONED, counts=False))
        lines = tuple(
            line(f"than {rival}", samplings.sizes, samplings.leads(WITH, rival)) for rival in (RESHUFFLED, PARTITIONED)
        )
        words = f"test {samplings.facts.metric}: better with replacement"
        gain, trend, _ = parts
        is_open = gain.outcome is Outcome.SUPPORTED and trend.outcome is not Outcome.SUPPORTED
        outcome = Outcome.INCONCLUSIVE if is_open else gain.outcome
        return verdict(self.id, exhibit, parts, outcome=outcome, figure=Figure("batch size", words, lines))

    @override
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        of_seed = generator.normal(size=64)
        noise = 0.012 if world == "silent" else 0.0015

        def values(arm: str, run: Run, looks: np.ndarray) -> Mapping[str, np.ndarray | float]:
            gain = 0.006 * (np.log2(run.batch_size) - 5) if arm == WITH else 0.0
            test = 0.86 + {"true": gain, "false": -gain, "silent": 0.0}[world]
            test += (
                0.004 * of_seed[run.seed] + noise * generator.normal() - 0.01 * np.log2(run.learning_rate / 0.5) ** 2
            )
            return {"train_loss": 0.1, "validation_accuracy": test, "test_accuracy": test}

        return values
