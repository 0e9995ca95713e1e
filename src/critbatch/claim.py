"""What a claim of the literature is, and what a judge may say of it."""

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, final

import numpy as np

from .bed import Bed, Scale, common_bed
from .estimate import Estimate
from .finding import TaskFacts
from .plan import Plan, Run
from .record import Evidence

World = Literal["true", "false", "silent"]
WORLDS: tuple[World, ...] = ("true", "false", "silent")


class Outcome(enum.Enum):
    """What the evidence says."""

    SUPPORTED = "the data show it"
    REFUTED = "the data show the contrary"
    EQUIVALENT = "the data show that there is no difference that matters"
    INCONCLUSIVE = "the data cannot tell"


class Kind(enum.Enum):
    """What sort of statement it is, which decides how it is tested."""

    DIRECTION = "direction"
    EQUIVALENCE = "equivalence"
    TREND = "trend"
    MODEL = "model fit"
    EXACT = "exact"


@final
@dataclass(frozen=True)
class Part:
    """One tested statement of a claim.

    Attributes:
        name: In words.
        kind: How it was tested.
        outcome: Of this statement alone.
        effect: What was measured.
        threshold: What it was held against, in words; fixed before the data were seen.
        detectable: The smallest true effect that would have been found four times in five; None where it has no sense.
        p_value: Two-sided, of no effect; None where it has no sense.
        counts: Whether the claim's outcome depends on it; else it is reported only.
    """

    name: str
    kind: Kind
    outcome: Outcome
    effect: Estimate
    threshold: str
    detectable: float | None = None
    p_value: float | None = None
    counts: bool = True


@final
@dataclass(frozen=True)
class Line:
    """A line of a verdict's figure: points (x, low, value, high), ends None where there is no interval."""

    name: str
    points: tuple[tuple[float, float | None, float, float | None], ...]


@final
@dataclass(frozen=True)
class Figure:
    """What a verdict rests on, as a picture: lines over one axis."""

    x: str
    y: str
    lines: tuple[Line, ...]
    log_x: bool = True
    log_y: bool = False


@final
@dataclass(frozen=True)
class Verdict:
    """What the evidence says of a claim.

    Attributes:
        claim: Its id.
        outcome: Of the whole.
        parts: The tested statements; the first is the one that the claim is quoted by.
        reason: In one or two sentences with the numbers.
        figure: None where a picture would say nothing.
        runs: Ids of the runs that were read.
        notes: What else was seen.
    """

    claim: str
    outcome: Outcome
    parts: tuple[Part, ...]
    reason: str
    figure: Figure | None = None
    runs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class Seen:
    """A run of somebody's sweep, known by what a grid needs of it."""

    id: str
    batch_size: int
    learning_rate: float
    seed: int


@final
@dataclass(frozen=True, eq=False)
class Exhibit:
    """The evidence for one claim, in the order in which the claim asked for it.

    Attributes:
        scale: At which it was gathered.
        facts: Of each task, by its role in the claim ("main" is the one that a user's own task replaces).
        arms: The runs of each arm, by the arm's name.
        evidence: Of all these runs.
    """

    scale: Scale
    facts: Mapping[str, TaskFacts]
    arms: Mapping[str, tuple[Run | Seen, ...]]
    evidence: Evidence


Quantities = Mapping[str, "np.ndarray | float"]
Imagined = Callable[[str, Run, np.ndarray], Quantities | None]


class Claim(ABC):
    """A published statement as an experiment that can lose.

    Thresholds and margins stand in the class and are fixed before any data. A claim says what to run and how to judge;
    it knows nothing of how runs are trained, kept or drawn.

    Attributes:
        id: As in "QA-2".
        statement: In our words, one sentence.
        source: Authors, year, arXiv id or journal.
        about: optimization, generalization or hardware.
        kinds: Of the statements that decide.
        budget: What is held equal across batch sizes, in words.
        policy: How learning rates are set, in words.
        published: Numbers of the source with their provenance (paper, second-hand); empty if there are none to compare.
        why_not_yours: Why it cannot be tried on a user's own task; empty if it can.
        reads_sweep: Whether any sweep of batch size x learning rate x seed, with plain SGD and a constant schedule, is
            evidence for it: its one arm is then called "sweep".
    """

    id: ClassVar[str]
    statement: ClassVar[str]
    source: ClassVar[str]
    about: ClassVar[Literal["optimization", "generalization", "hardware"]]
    kinds: ClassVar[tuple[Kind, ...]]
    budget: ClassVar[str]
    policy: ClassVar[str]
    published: ClassVar[str] = ""
    why_not_yours: ClassVar[str] = ""
    reads_sweep: ClassVar[bool] = False

    def beds(self, scale: Scale) -> Mapping[str, Bed]:
        """Return the test beds by role, the common one for most; "main" is the one that a user's task can replace."""
        return {"main": common_bed(scale)}

    @abstractmethod
    def arms(self, scale: Scale, facts: Mapping[str, TaskFacts]) -> Mapping[str, Plan]:
        """Return what to run, by arm. On a user's own task `facts` has the role "main" alone."""

    def next_arms(self, exhibit: Exhibit) -> Mapping[str, Plan]:
        """Return what to run besides once the first arms are there; nothing, for most claims."""
        return {}

    @abstractmethod
    def judge(self, exhibit: Exhibit) -> Verdict:
        """Return what the evidence says. Never raises for evidence that is thin: INCONCLUSIVE says what is missing."""

    @abstractmethod
    def imagine(self, world: World, generator: np.random.Generator) -> Imagined:
        """Return a function that makes up what a run would have recorded, in a world where the claim is true or false.

        In the "silent" world the effect exists or not, but the noise is too large, or the runs too short, to tell.
        The function is given arm, run and looks (step,), and returns quantities by name: values (step,), or one number
        for all looks; None for a run that diverged.
        """

    def negation(self) -> set[Outcome]:
        """Return which outcomes say that the claim is false."""
        return {Outcome.REFUTED} if Kind.EQUIVALENCE in self.kinds else {Outcome.REFUTED, Outcome.EQUIVALENT}

    def affirmation(self) -> set[Outcome]:
        """Return which outcomes say that the claim is true."""
        return {Outcome.SUPPORTED, Outcome.EQUIVALENT} - self.negation()


def verdict_json(verdict: Verdict, claim: Claim) -> dict[str, Any]:
    """Return a verdict with its claim as JSON types."""
    return {
        "id": claim.id,
        "statement": claim.statement,
        "source": claim.source,
        "about": claim.about,
        "budget": claim.budget,
        "learning_rate_policy": claim.policy,
        "published": claim.published,
        "outcome": verdict.outcome.name,
        "effect": verdict.parts[0].effect.to_json() if verdict.parts else None,
        "reason": verdict.reason,
        "parts": [
            {
                "name": part.name, "kind": part.kind.value, "outcome": part.outcome.name, "effect": part.effect.to_json(),
                "threshold": part.threshold, "smallest_detectable": part.detectable, "p_value": part.p_value,
                "counts": part.counts,
            }
            for part in verdict.parts
        ],
        "notes": list(verdict.notes),
        "runs": list(verdict.runs),
    }  # fmt: skip
