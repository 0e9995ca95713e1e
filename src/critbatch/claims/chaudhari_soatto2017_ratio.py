"""Chaudhari and Soatto (2017): a learning rate in proportion to the batch size keeps SGD's regularization."""

from collections.abc import Mapping
from typing import final

import numpy as np
from typing_extensions import override

from ..claim import Claim, Exhibit, Imagined, Kind, Scale, Verdict, World
from ..finding import TaskFacts
from ..judging.parts import verdict
from ..judging.same_ratio import BUDGET, POLICY, first_row, made_up_ratio, ratio_arms, same_ends
from ..plan import Plan


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
