"""Results that live as long as the process."""

import json
from collections.abc import Iterable, Sequence
from typing import Any, final

import polars as pl
from typing_extensions import override

from ..plan import RunResult
from ..record import RECORD_SCHEMA, RUN_SCHEMA, Ending, Evidence
from ..store import Store, Study, run_row


@final
class Memory(Store):
    """Keeps results in this process and forgets them with it."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, Any]] = {}
        self._records: dict[str, pl.DataFrame] = {}
        self._studies: dict[str, str] = {}

    @override
    def add(self, results: Sequence[RunResult]) -> None:
        rows = [run_row(result) for result in results]  # all are checked before any is kept
        for row, result in zip(rows, results, strict=True):
            if row["run"] not in self.finished([row["run"]]):
                self._rows[row["run"]] = row
                self._records[row["run"]] = result.records.clone()

    @override
    def finished(self, run_ids: Iterable[str]) -> set[str]:
        return {run for run in run_ids if run in self._rows and self._rows[run]["ending"] != Ending.FAILED.name}

    @override
    def evidence(self, run_ids: Iterable[str]) -> Evidence:
        found = [run for run in dict.fromkeys(run_ids) if run in self._rows]
        runs = pl.DataFrame([self._rows[run] for run in found], schema=RUN_SCHEMA)
        none = pl.DataFrame(schema={"run": pl.String, **RECORD_SCHEMA})
        tables = [self._records[run].select(pl.lit(run).alias("run"), pl.all()) for run in found]
        return Evidence(runs, pl.concat([none, *tables]))

    @override
    def put_study(self, study: Study) -> None:
        self._studies.pop(study.name, None)
        # As text: what comes back is JSON types and shares nothing with what went in, as in stores on disk.
        self._studies[study.name] = json.dumps([study.run_ids, study.description])

    @override
    def studies(self) -> list[Study]:
        found = [(name, *json.loads(text)) for name, text in reversed(self._studies.items())]
        return [Study(name, tuple(run_ids), description) for name, run_ids, description in found]

    @override
    def close(self) -> None:
        """Do nothing: there is nothing to release."""
