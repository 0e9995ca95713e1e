"""What other people's logs hold: runs, means or curves; and what readers of files hand over before names have a meaning."""

import enum
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import polars as pl

RUNS = {
    "batch_size": pl.Int64,
    "learning_rate": pl.Float64,
    "seed": pl.String,
    "steps": pl.Float64,
    "reached": pl.Boolean,
    "diverged": pl.Boolean,
}
SUMMARIES = {
    "batch_size": pl.Int64,
    "learning_rate": pl.Float64,
    "mean": pl.Float64,
    "sd": pl.Float64,
    "count": pl.Int64,
}
CURVES = {
    "run": pl.String,
    "batch_size": pl.Int64,
    "learning_rate": pl.Float64,
    "seed": pl.String,
    "step": pl.Float64,
    "metric": pl.Float64,
}
KINDS = ("runs", "summaries", "curves")


class Mark(enum.Enum):
    """What a cell that should hold the steps of a run says instead of, or beside, a number."""

    NUMBER = "a number"
    BEYOND = "more than a number: '>5000'"
    NEVER = "that the target was not reached, without a number: 'NA', '-', 'inf'"
    DIVERGED = "that the run diverged"
    BLANK = "nothing"


@final
@dataclass(frozen=True)
class Log:
    """A log whose columns have a meaning. Exactly one of the three tables is there.

    Attributes:
        runs: One row a run (`RUNS`). `steps` is the steps to target, or the last step seen where `reached` is false; it
            is null only for a run that diverged at an unknown step. Rows of one batch size and learning rate are repeats.
        summaries: One row a batch size and learning rate (`SUMMARIES`): mean steps to target, the standard deviation of
            one run (not of the mean; null where one run has none), and how many runs.
        curves: One row a look (`CURVES`), by run and step; NaN and infinity are kept: the run was seen to diverge.
        columns: Role to the column that was taken for it.
        notes: What was guessed, converted or left out, one sentence each, for the user.

    Raises:
        ValueError: If there is no table or more than one, or its columns are others.
    """

    runs: pl.DataFrame | None = None
    summaries: pl.DataFrame | None = None
    curves: pl.DataFrame | None = None
    columns: Mapping[str, str] | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        tables = {"runs": (self.runs, RUNS), "summaries": (self.summaries, SUMMARIES), "curves": (self.curves, CURVES)}
        present = [name for name, (table, _) in tables.items() if table is not None]
        if len(present) != 1:
            raise ValueError(f"`Log`: exactly one of {', '.join(KINDS)} must be there, not {present}. Give one table.")
        table, schema = tables[present[0]]
        if table is not None and dict(table.schema) != schema:
            raise ValueError(f"`Log({present[0]}=...)`: has {dict(table.schema)}, not {schema}. Cast the table.")

    @property
    def kind(self) -> str:
        """Return which table is there: "runs", "summaries" or "curves"."""
        return "runs" if self.runs is not None else "summaries" if self.summaries is not None else "curves"


@final
@dataclass(frozen=True)
class Sheet:
    """A table as it was written: cells are texts, or numbers and booleans where the format has them.

    Attributes:
        frame: The cells under the names of the file.
        places: Where the user finds each row: "line 3".
        decimal: "." or ","; None where the texts do not tell, and then "1.500" has no meaning.
        notes: What the reader left out or decided.
    """

    frame: pl.DataFrame
    places: pl.Series
    decimal: str | None = "."
    notes: tuple[str, ...] = ()


@final
@dataclass(frozen=True)
class TrackedRun:
    """What a tracker kept of one run.

    Attributes:
        name: Unique in its source: a folder or an id, with the name that the user gave.
        config: Names to values, nested ones joined by dots.
        series: Metric names to (steps, values), in the order of writing.
    """

    name: str
    config: Mapping[str, Any]
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]]


_QUANTITIES = ("steps", "step", "iterations", "iters", "updates", "stepstotarget")
_STATISTICS = {
    "mean": ("mean", "avg", "average"),
    "sd": ("sd", "std", "stdev", "stddev", "standarddeviation", "sigma"),
    "se": ("se", "sem", "stderr", "standarderror", "stderror"),
}


def _statistic(role: str) -> tuple[tuple[str, ...], ...]:
    words = _STATISTICS[role]
    quantities = (*_QUANTITIES, "examples", "samples", "epochs", "examplestotarget", "epochstotarget")
    both = [text for word in words for quantity in quantities for text in (word + quantity, quantity + word)]
    return words, tuple(both)


# Names of each role without case, spaces and signs, the surest first: a name of an earlier group beats later ones.
ALIASES: dict[str, tuple[tuple[str, ...], ...]] = {
    "batch_size": (
        ("batchsize", "bs", "trainbatchsize", "globalbatchsize", "totalbatchsize", "totaltrainbatchsize", "minibatchsize",
         "effectivebatchsize", "batchsizetrain", "perdevicetrainbatchsize", "perdevicebatchsize", "pergpubatchsize"),
        ("b", "batch", "minibatch"),
    ),
    "learning_rate": (("learningrate", "lr", "eta", "η", "stepsize"), ("baselr", "initiallr", "initlr", "peaklr", "maxlr")),
    "seed": (("seed", "runseed", "randomseed", "rngseed"), ("trial", "repeat", "replicate", "repetition", "rep")),
    "steps": (
        ("stepstotarget", "stepstoresult", "stepstogoal", "stepstoreachtarget", "iterationstotarget", "updatestotarget"),
        ("steps", "nsteps", "numsteps", "trainsteps", "trainingsteps", "iterations", "iters", "updates", "numupdates"),
    ),
    "examples": (
        ("examplestotarget", "samplestotarget", "imagestotarget"),
        ("examples", "samples", "nexamples", "nsamples", "numexamples", "examplesseen", "samplesseen"),
    ),
    "epochs": (("epochstotarget",), ("epochs", "epoch", "nepochs", "numepochs")),
    "reached": (("reached", "reachedtarget", "targetreached", "converged", "hittarget", "success"),),
    "censored": (("censored", "iscensored", "rightcensored", "notreached", "timedout", "timeout"),),
    "status": (("status", "ending", "outcome"), ("state", "result")),
    "diverged": (("diverged", "isdiverged"),),
    "max_steps": (("maxsteps", "laststep", "maxiterations", "maxiters", "maxupdates", "stepbudget", "stepsrun"),),
    "max_examples": (("maxexamples", "maxsamples", "lastexample", "examplebudget"),),
    "max_epochs": (("maxepochs", "lastepoch", "epochbudget"),),
    "mean": _statistic("mean"),
    "sd": _statistic("sd"),
    "se": _statistic("se"),
    "count": (("count", "n", "nruns", "numruns", "runs", "nseeds", "numseeds", "seeds", "repeats", "replicates"),),
    "run": (("runid", "run", "runname"), ("name", "id", "experiment")),
    "step": (("step", "globalstep", "iteration", "iter", "update", "trainstep", "trainerglobalstep"),),
    "metric": (),
}  # fmt: skip
ROLES = tuple(ALIASES)
_UNIT = re.compile(r"^(?P<name>.*\S)\s*[(\[](?P<unit>[^()\[\]]*)[)\]]\W*$", re.DOTALL)


def split_unit(name: str) -> tuple[str, str]:
    """Return a column's name and what stands in parentheses at its end, "" where nothing does."""
    match = _UNIT.match(name)
    return (match["name"], match["unit"].strip()) if match else (name, "")


def name_keys(name: str) -> tuple[str, str]:
    """Return what is compared of a name: letters and digits, of the whole and of its last part (`train.bs`: "bs")."""
    plain = split_unit(name)[0].casefold()
    whole, last = (re.sub(r"[\W_]+", "", text) for text in (plain, re.split(r"[./:]", plain)[-1]))
    return whole, last


_FIXED = {1: ("<d", 8), 5: ("<f", 4)}


def wire_fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Yield the fields of a protocol buffer message: (number, value).

    The value of a varint is an integer (unsigned), of eight or four fixed bytes a float, of anything else its bytes:
    text, a message or packed numbers, which only the schema can tell.

    Source: https://protobuf.dev/programming-guides/encoding/

    Raises:
        ValueError: If the bytes are no such message.
    """
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, position = _varint(message, position)
            yield number, value
            continue
        if kind == 2:
            size, position = _varint(message, position)
        elif kind in _FIXED:
            size = _FIXED[kind][1]
        else:
            raise ValueError(f"wire type {kind} at byte {position} is none of a protocol buffer.")
        chunk = message[position : position + size]
        if len(chunk) < size:
            raise ValueError(f"a field at byte {position} has {len(chunk)} of its {size} bytes.")
        position += size
        yield number, chunk if kind == 2 else struct.unpack(_FIXED[kind][0], chunk)[0]


def _varint(message: bytes, position: int) -> tuple[int, int]:
    if position < len(message) and message[position] < 0x80:
        return message[position], position + 1
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number that ends at byte {position} is not complete.")
