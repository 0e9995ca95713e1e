"""What branches found."""

from dataclasses import dataclass
from typing import Any, final

from ..estimate import Estimate, short


@final
@dataclass(frozen=True)
class Branch:
    """All runs at one batch size.

    Attributes:
        multiple: Of the checkpoint's batch size.
        batch_size: Examples in a batch.
        factor: Of the checkpoint's learning rate: the rule's times the best of the grid.
        at_edge: Whether the best factor is at the end of its grid: a wrong rate looks like a critical batch size.
        loss: At the end, mean over seeds.
        excess: Loss beyond that of the base branch at the same examples; paired by seed.
        overhead: Loss beyond that of the base branch when it had seen fewer examples by the allowed overhead.
        verdict: fine, worse or open.
        diverged: Runs whose loss was not finite.
    """

    multiple: int
    batch_size: int
    factor: float
    at_edge: bool
    loss: float
    excess: Estimate
    overhead: Estimate
    verdict: str
    diverged: int


@final
@dataclass(frozen=True)
class BranchStudy:
    """The critical batch size at a checkpoint.

    Attributes:
        critical_batch_size: With its interval; ends that are open are None.
        undetected: The largest batch size that is not detectably worse than every smaller one at the same examples: what
            Merrill et al. call critical, with a statistical tolerance. It grows with noise.
        branches: By batch size.
        examples: Seen by every branch.
        cost: Examples, steps and seconds of all branches together.
        warnings: What to mind.
    """

    critical_batch_size: Estimate
    undetected: int
    branches: tuple[Branch, ...]
    examples: int
    cost: dict[str, float]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the study as JSON types."""
        rows = [
            {key: value.to_json() if isinstance(value, Estimate) else value for key, value in vars(one).items()}
            for one in self.branches
        ]
        return {
            "schema_version": 1, "critical_batch_size": self.critical_batch_size.to_json(), "undetected": self.undetected,
            "branches": rows, "examples": self.examples, "cost": self.cost, "warnings": list(self.warnings),
        }  # fmt: skip

    def __str__(self) -> str:
        found = self.critical_batch_size
        lines = [f"Local critical batch size: {found.brief()} examples ({found.definition})"]
        if found.value is None:
            lines.append(f"  {found.reason}")
        head = ("batch size", "rate x", "loss", "beyond the base", "beyond the allowance", "verdict")
        rows = [
            (str(one.batch_size), short(one.factor) + ("!" if one.at_edge else ""), f"{one.loss:.6g}", one.excess.brief(),
             one.overhead.brief(), one.verdict)
            for one in self.branches
        ]  # fmt: skip
        widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
        lines += [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in (head, *rows)
        ]
        lines.append(f"Not detectably worse at equal examples: up to {self.undetected}")
        lines.append(
            f"Cost: {short(self.cost['examples'])} examples, {short(self.cost['steps'])} steps, {self.cost['seconds']:.3g} s"
        )
        return "\n".join([*lines, *(f"Warning: {one}" for one in self.warnings)])
