"""Runs of a tracker: what was set is in configs or names, what was seen in series."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from ...log import ALIASES, CURVES, Log, Sheet, TrackedRun, name_keys
from . import cells, curves, roles, units
from .runs import read_runs

NUMBER = r"(?P<value>\d+(?:\.\d+)?(?:e[+-]?\d+)?)(?![0-9.])"
IN_NAMES = {
    "batch_size": re.compile(
        r"(?:^|[^a-z])(?:(?:train|global)[_-]?)?(?:batch[_-]?size|batch|bs|b)\s*[=_:-]?\s*" + NUMBER
    ),
    "learning_rate": re.compile(r"(?:^|[^a-z])(?:learning[_-]?rate|lr|eta)\s*[=_:-]?\s*" + NUMBER),
    "seed": re.compile(r"(?:^|[^a-z])(?:seed|s)\s*[=_:-]?\s*(?P<value>\d+)"),
}
POSITIONS = ("globalstep", "trainerglobalstep", "trainglobalstep")
OWN_STEP = "step"  # what the tracker itself calls the step of a look, where no series has that name
CONFIGURED = ("batch_size", "learning_rate", "seed")


def read_tracked(
    runs: Sequence[TrackedRun], columns: Mapping[str, str], train_size: int | None, kind: str | None
) -> Log:
    """Return the runs of a tracker: curves of one metric, or runs where steps to target were logged as a number.

    Raises:
        ValueError: If what is asked for is not there or not certain, or `kind` is "summaries".
    """
    if kind not in {None, "runs", "curves"}:
        raise ValueError(
            f"--kind {kind}: a tracker's runs are read as 'curves' or, with steps to target logged, 'runs'."
        )
    config, series = _config(runs), _series_names(runs)
    roles.check(columns, [*config.frame.columns, *series, OWN_STEP])
    if kind == "runs" or (kind is None and _has_results(runs, columns)):
        return read_runs(_last_values(runs, config, columns), columns, train_size)
    metric = curves.choose_metric(series, columns, series)
    empty = [run.name for run in runs if not run.series.get(metric, ((), ()))[0]]
    runs = [run for run in runs if run.name not in empty]
    if not runs:
        raise ValueError(f"No run has looks of {metric!r}. There are: {roles.listed(series)}.")
    config = _config(runs)
    own = {role: columns[role] for role in CONFIGURED if role in columns}
    wrong = [f"--column {role}={name}" for role, name in own.items() if name not in config.frame.columns]
    if wrong:
        names = roles.listed(config.frame.columns)
        raise ValueError(f"{wrong[0]}: must be set once a run, not a metric. What was set: {names}.")
    config, own, name_notes = _with_names(config, runs, own)
    used = {"batch_size": _required(config, own)}
    used |= roles.taken({role: roles.find(config.frame, role, own) for role in CONFIGURED})
    sizes = cells.batch_sizes(config, used["batch_size"])
    rates = cells.learning_rates(config, used.get("learning_rate"))
    seeds = cells.texts(config, used.get("seed"))
    quantity, position = _position(series, columns)
    per_unit, notes = units.steps_per_unit("steps" if quantity == "step" else quantity, sizes, train_size)
    tables, repeats = [], 0
    for index, run in enumerate(runs):
        looks, repeated = _looks(run, metric, position)
        repeats += repeated
        about = {"run": run.name, "batch_size": sizes[index], "learning_rate": rates[index], "seed": seeds[index]}
        constants = [pl.lit(value, dtype=CURVES[key]).alias(key) for key, value in about.items()]
        tables.append(looks.with_columns(pl.col("step") * per_unit[index], *constants).select(*CURVES))
    used |= {"metric": metric, quantity: position or OWN_STEP}
    notes.append(f"Steps are read from {position!r}." if position else _own_step_note(tables, quantity))
    if repeats:
        notes.append(f"{repeats} looks were written again at the same step: the last one counts.")
    if empty:
        notes.append(f"Left out, without {metric!r}: {roles.listed(empty)}.")
    notes += [*name_notes, *roles.batch_size_notes(used["batch_size"]), *_same_runs(runs, sizes, rates, seeds)]
    table = pl.concat(tables).sort("batch_size", "learning_rate", "run", "step", maintain_order=True)
    return Log(curves=table, columns=used, notes=tuple(notes))


def _config(runs: Sequence[TrackedRun]) -> Sheet:
    names = list(dict.fromkeys(name for run in runs for name in run.config))
    table = {name: pl.Series([_text(run.config.get(name)) for run in runs], dtype=pl.String) for name in names}
    return Sheet(pl.DataFrame(table), pl.Series([f"run {run.name!r}" for run in runs], dtype=pl.String))


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


def _series_names(runs: Sequence[TrackedRun]) -> list[str]:
    return list(dict.fromkeys(name for run in runs for name in run.series))


def _has_results(runs: Sequence[TrackedRun], columns: Mapping[str, str]) -> bool:
    if {"metric", "step"} & set(columns):
        return False
    if any(role in columns for role in units.QUANTITIES):
        return OWN_STEP not in columns.values()
    return bool(_result_names(runs, {}))


def _result_names(runs: Sequence[TrackedRun], columns: Mapping[str, str]) -> list[str]:
    """Return the names under which runs logged a number such as `steps_to_target`."""
    named = {columns[role] for role in units.QUANTITIES if role in columns}
    surest = {alias for role in units.QUANTITIES for alias in ALIASES[role][0]}
    names = [name for run in runs for name in (*run.series, *run.config)]
    return [name for name in names if name in named or name_keys(name)[0] in surest]


def _last_step(run: TrackedRun) -> float | None:
    last = max((step for steps, _ in run.series.values() for step in steps), default=0.0)
    return last if last > 0 else None


def _last_values(runs: Sequence[TrackedRun], config: Sheet, columns: Mapping[str, str]) -> Sheet:
    """Return one row a run: what was set, the last value of each series, and the last step of runs without a result."""
    frame = config.frame
    for name in _series_names(runs):
        last = [run.series[name][1][-1] if run.series.get(name, ((), ()))[1] else None for run in runs]
        frame = frame.with_columns(pl.Series(name, last, dtype=pl.Float64))
    if not roles.find(frame, "max_steps", {}):
        ends = [None if _result_names([run], columns) else _last_step(run) for run in runs]
        frame = frame.with_columns(pl.Series("last step", ends, dtype=pl.Float64))
    notes = ("The last value of each metric counts: steps to target were logged as a number.",)
    return Sheet(frame, config.places, notes=notes)


def _with_names(
    config: Sheet, runs: Sequence[TrackedRun], columns: Mapping[str, str]
) -> tuple[Sheet, dict[str, str], list[str]]:
    """Return the configs with what only the runs' names say (`bs=128,lr=0.1,seed=3`), the roles so far, and notes."""
    frame, found, notes = config.frame, dict(columns), []
    for role in CONFIGURED:
        if roles.find(frame, role, columns) is not None:
            continue
        matches = [IN_NAMES[role].search(run.name.casefold()) for run in runs]
        if not any(matches):
            continue
        values = [match["value"] if match else None for match in matches]
        column = pl.Series(f"{role} in the name", values, dtype=pl.String)
        frame = frame.hstack([column]) if frame.width else pl.DataFrame([column])
        found[role] = column.name
        example = next(run.name for run, value in zip(runs, values, strict=True) if value)
        notes.append(f"The {role.replace('_', ' ')} is read from the runs' names, such as {example!r}.")
    return Sheet(frame, config.places), found, notes


def _required(config: Sheet, columns: Mapping[str, str]) -> str:
    found = roles.find(config.frame, "batch_size", columns)
    if found is None:
        raise ValueError(
            "No run says its batch size, in what was set or in its name (bs=128). Name it with --column batch_size=NAME. "
            f"What was set: {roles.listed(config.frame.columns) or 'nothing'}."
        )
    return found


def _position(series: Sequence[str], columns: Mapping[str, str]) -> tuple[str, str | None]:
    """Return the quantity and the series that says at which step a look was; None: the tracker's own step.

    Raises:
        ValueError: If several series may.
    """
    for role in ("step", *units.QUANTITIES):
        if role in columns:
            return role, columns[role] if columns[role] in series else None
    found = [name for name in series if name_keys(name)[0] in POSITIONS]
    if len(found) > 1:
        raise ValueError(f"{roles.listed(found)} may each be the step. Choose with --column step=NAME.")
    return "step", found[0] if found else None


def _looks(run: TrackedRun, metric: str, position: str | None) -> tuple[pl.DataFrame, int]:
    """Return step and metric of each look, by step, and how many were written again later.

    Raises:
        ValueError: If a step is negative.
    """
    schema = {"step": pl.Float64, "metric": pl.Float64}
    looks = pl.DataFrame(list(run.series.get(metric, ((), ()))), schema=schema)
    if position:
        at = pl.DataFrame(list(run.series.get(position, ((), ()))), schema={"step": pl.Float64, "at": pl.Float64})
        at = at.unique("step", keep="last")
        looks = looks.join(at, on="step", how="inner", maintain_order="left").select(step="at", metric="metric")
    unique = looks.unique("step", keep="last", maintain_order=True).sort("step")
    if len(unique) and not unique["step"].is_between(0, 1e300).all():
        raise ValueError(f"Run {run.name!r} has looks at steps below 0. Choose another with --column step=NAME.")
    return unique, len(looks) - len(unique)


def _own_step_note(tables: Sequence[pl.DataFrame], quantity: str) -> str:
    note = (
        f"The {'step' if quantity == 'step' else f'number of {quantity}'} of a look is the one that the tracker kept."
    )
    is_counter = all(table["step"].diff().drop_nulls().eq(1).all() for table in tables)
    if quantity != "step" or not is_counter:
        return note
    return (
        f"{note} It goes up by one from look to look: if those are epochs, say so with --column epochs={OWN_STEP}; if "
        "a metric holds the true step, with --column step=NAME."
    )


def _same_runs(runs: Sequence[TrackedRun], sizes: pl.Series, rates: pl.Series, seeds: pl.Series) -> list[str]:
    known: dict[tuple[Any, ...], list[str]] = {}
    for run, key in zip(runs, zip(sizes, rates, seeds, strict=True), strict=True):
        known.setdefault(key, []).append(run.name)
    same = [names for (_, _, seed), names in known.items() if len(names) > 1 and seed is not None]
    return [
        f"{roles.listed(names)} have the same batch size, learning rate and seed: they count as repeats."
        for names in same
    ]
