"""Where results are kept."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self, final

from .plan import RunResult
from .record import RECORD_SCHEMA, Evidence


@final
@dataclass(frozen=True)
class Study:
    """One sweep as the store remembers it: which runs belong to it, and what is needed to read them again.

    Attributes:
        name: The task's name.
        run_ids: The runs of the study, in no particular order.
        description: JSON types: task facts, plan, command, versions, finding. See `critbatch.study`.
    """

    name: str
    run_ids: tuple[str, ...]
    description: dict[str, Any]


def run_row(result: RunResult) -> dict[str, Any]:
    """Return the row of `result` in the run table (`RUN_SCHEMA`).

    Raises:
        ValueError: If its records are not a table with `RECORD_SCHEMA`. No store keeps such a result.
    """
    if dict(result.records.schema) != RECORD_SCHEMA:
        raise ValueError(
            f"`RunResult(records=...)` of run {result.run.id}: the table has {dict(result.records.schema)}, not "
            f"{RECORD_SCHEMA}. Make it with `record_table`."
        )
    end = {"ending": result.ending.name, "steps": result.steps, "examples": result.examples}
    return {**result.run.row(), **end, "seconds": float(result.seconds), "note": result.note}


class Store(ABC):
    """Keeps run results by run id, whole or not at all.

    One process writes; others may read meanwhile. What `add` has returned from survives the death of the process (in
    stores that outlive it). A context manager: leaving it releases what it holds.
    """

    @abstractmethod
    def add(self, results: Sequence[RunResult]) -> None:
        """Keep all of `results` or, on an error, none.

        A run that is there already stays as it is, unless it FAILED: then the new result replaces it.
        """

    @abstractmethod
    def finished(self, run_ids: Iterable[str]) -> set[str]:
        """Return which of `run_ids` need no training: those there with any ending but FAILED."""

    @abstractmethod
    def evidence(self, run_ids: Iterable[str]) -> Evidence:
        """Return both tables for those of `run_ids` that are there, rows in the order of `run_ids`."""

    @abstractmethod
    def put_study(self, study: Study) -> None:
        """Keep `study`, replacing an earlier one of the same name."""

    @abstractmethod
    def studies(self) -> list[Study]:
        """Return all studies, the latest put first."""

    @abstractmethod
    def close(self) -> None:
        """Release files and connections. Closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
