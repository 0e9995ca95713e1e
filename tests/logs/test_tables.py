"""Tables as people write them: what is guessed is right and is said."""

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from critbatch.log import RUNS, Log
from critbatch.logs import read_log

from .reading import curves, read_text, runs, said, summaries

LONG = "batch_size,lr,seed,steps_to_target\n16,0.1,0,100\n16,0.1,1,120\n32,0.1,0,60\n"


def test_a_long_table_is_read_with_its_roles(tmp_path):
    log = read_text(tmp_path, LONG)
    assert log.kind == "runs"
    assert log.columns == {
        "batch_size": "batch_size", "steps": "steps_to_target", "learning_rate": "lr", "seed": "seed"
    }  # fmt: skip
    assert log.runs.rows() == [
        (16, 0.1, "0", 100.0, True, False),
        (16, 0.1, "1", 120.0, True, False),
        (32, 0.1, "0", 60.0, True, False),
    ]
    assert dict(log.runs.schema) == RUNS


SAME = {
    "tabs": LONG.replace(",", "\t"),
    "bars": LONG.replace(",", "|"),
    "spaces": LONG.replace(",", "   "),
    "semicolons and decimal commas": LONG.replace(",", ";").replace(".", ","),
    "a byte order mark": "\ufeff" + LONG,
    "blank lines and cells": "\n\n" + LONG.replace("\n", ",,\n\n") + ",,,,\n",
    "Windows": LONG.replace("\n", "\r\n"),
    "other names": LONG.replace("batch_size,lr,seed,steps_to_target", "Batch Size,Learning-Rate,Random seed,# Updates"),
    "units": LONG.replace("steps_to_target", "steps to target (steps)"),
    "a comment": "# my sweep\n" + LONG,
    "a title": "My sweep,,,\n" + LONG,
    "quotes": LONG.replace("lr,seed", '"lr","seed"').replace("120", '"120"'),
    "Excel's line": "sep=,\n" + LONG,
    "space around cells": LONG.replace(",", " , "),
}


@pytest.mark.parametrize("text", SAME.values(), ids=SAME)
def test_the_same_table_may_be_written_with(text, tmp_path):
    assert read_text(tmp_path, text).runs.equals(read_text(tmp_path, LONG, "plain.csv").runs)


def test_utf_16_and_windows_1252_are_read(tmp_path):
    plain = read_text(tmp_path, LONG, "plain.csv")
    assert read_text(tmp_path, LONG.replace(",", "\t").encode("utf-16"), "a.txt").runs.equals(plain.runs)
    log = read_text(tmp_path, LONG.replace("seed", "graîne", 1).encode("cp1252"), columns={"seed": "graîne"})
    assert log.runs.equals(plain.runs)
    assert said(log, "Windows-1252")


NUMBERS = {
    "English thousands": ('batch,steps\n"1,024","12,500"\n16,800\n', [(1024, 12500.0), (16, 800.0)]),
    "English with decimals": ('batch,steps\n16,"1,500.5"\n', [(16, 1500.5)]),
    "German": ("batch;steps\n16;1.500,5\n32;2.000\n", [(16, 1500.5), (32, 2000.0)]),
    "Swiss and French": ("batch;steps\n16;12'500\n32;1 234 567\n", [(16, 12500.0), (32, 1234567.0)]),
    "exponents": ("batch,steps\n16,1.5e3\n", [(16, 1500.0)]),
    "suffixes": ("batch,steps\n16,5k\n32,1.2k\n", [(16, 5000.0), (32, 1200.0)]),
    "thousands in the header": ("batch,steps (k)\n16,5\n", [(16, 5000.0)]),
}


@pytest.mark.parametrize(("text", "expected"), NUMBERS.values(), ids=NUMBERS)
def test_numbers_are_read(text, expected, tmp_path):
    assert [row[:2] for row in runs(read_text(tmp_path, text))] == expected


def test_a_unit_of_thousands_is_said(tmp_path):
    assert said(read_text(tmp_path, "batch,steps (k)\n16,5\n"), "in units of 1,000: its numbers were multiplied")


@pytest.mark.parametrize(
    "cell", [">5000", "> 5 000", ">=5000", "≥5000", "5000+", ">5k", "not reached (5000)", "did not reach by 5000 steps",
             "DNF at 5000", "censored at 5000"]
)  # fmt: skip
def test_a_bound_in_the_cell_is_a_run_that_did_not_arrive(cell, tmp_path):
    assert runs(read_text(tmp_path, f"batch;steps\n16;{cell}\n"))[0] == (16, 5000.0, False)


@pytest.mark.parametrize("cell", ["NA", "-", "did not reach", "inf", "nan", "∞", "n/a", "never", ""])
def test_a_run_that_did_not_arrive_takes_the_maximum_of_its_row(cell, tmp_path):
    log = read_text(tmp_path, f"batch,steps,max_steps\n16,{cell},5000\n32,700,5000\n64,5000,5000\n")
    assert runs(log) == [(16, 5000.0, False), (32, 700.0, True), (64, 5000.0, False)]
    assert said(log, "Not reached, by the maximum of steps: lines 2 and 4.")


@pytest.mark.parametrize(
    ("name", "yes", "no"),
    [
        ("reached", "yes", "no"),
        ("Converged?", "TRUE", "FALSE"),
        ("censored", "0", "1"),
        ("status", "reached", "budget"),
    ],
)
def test_endings_may_stand_in_a_column_of_their_own(name, yes, no, tmp_path):
    log = read_text(tmp_path, f"batch,steps,{name}\n16,5000,{no}\n32,700,{yes}\n")
    assert runs(log) == [(16, 5000.0, False), (32, 700.0, True)]


def test_diverged_runs_are_kept_without_a_step(tmp_path):
    log = read_text(tmp_path, "batch,lr,steps,diverged\n16,9,diverged,\n16,8,30,true\n16,1,50,false\n")
    assert log.runs.select("steps", "reached", "diverged").rows() == [
        (None, False, True),
        (30.0, False, True),
        (50.0, True, False),
    ]


def test_one_column_a_seed_is_read_and_blanks_are_said(tmp_path):
    text = "batch size;lr;seed 1;seed 2;seed 3;mean\n16;0,1;100;120;;110\n32;0,1;60;>5000;70;\n"
    log = read_text(tmp_path, text)
    assert log.runs.sort("batch_size", "seed").select("batch_size", "learning_rate", "seed", "steps", "reached").rows() == [
        (16, 0.1, "1", 100.0, True), (16, 0.1, "2", 120.0, True),
        (32, 0.1, "1", 60.0, True), (32, 0.1, "2", 5000.0, False), (32, 0.1, "3", 70.0, True),
    ]  # fmt: skip
    assert said(log, "Blank in line 2 (seed 3): taken as runs that were not made")
    assert said(log, "Not used: 'mean'.")


def test_one_column_a_seed_may_be_in_epochs(tmp_path):
    log = read_text(tmp_path, "B,epochs run1,epochs run2\n10,2,3\n", train_size=100)
    assert runs(log) == [(10, 20.0, True), (10, 30.0, True)]


def test_examples_and_epochs_become_steps(tmp_path):
    log = read_text(tmp_path, "batch_size,examples_to_target\n16,1600\n32,>1600\n")
    assert runs(log) == [(16, 100.0, True), (32, 50.0, False)]
    assert said(log, "Examples divided by the batch size are the steps.")
    log = read_text(tmp_path, "batch_size,epochs,max_epochs\n50,2,9\n100,NA,9\n", train_size=50_000)
    assert runs(log) == [(50, 2000.0, True), (100, 4500.0, False)]
    assert said(log, "Epochs times 50,000 training examples (--train-size)")


def test_names_given_by_the_user_win(tmp_path):
    text = "width,bs,train.bs,steps\n1,2,16,100\n"
    assert runs(read_text(tmp_path, text, columns={"batch_size": "train.bs"})) == [(16, 100.0, True)]
    assert runs(read_text(tmp_path, text, columns={"steps": "width", "batch_size": "bs"})) == [(2, 1.0, True)]


def test_missing_seeds_are_repeats(tmp_path):
    log = read_text(tmp_path, "bs,seed,steps\n16,,100\n16,,100\n16,3.0,90\n")
    assert log.runs["seed"].to_list() == [None, None, "3"]
    assert said(log, "2 runs have no seed")
    assert said(read_text(tmp_path, "bs,steps\n16,100\n16,100\n"), "No seeds: rows of one batch size")


def test_doubts_are_said(tmp_path):
    assert said(read_text(tmp_path, "bs,steps\n16,100\n16,110\n"), "All runs have batch size 16")
    stuck = read_text(tmp_path, "bs,steps\n16,900\n32,5000\n64,5000\n")
    assert said(stuck, "2 runs took exactly 5000 steps, the most of all")
    assert said(
        read_text(tmp_path, "per_device_train_batch_size,steps\n16,100\n"), "may be the batch size of one device"
    )
    assert said(read_text(tmp_path, "bs,steps,color\n16,100,red\n"), "Not used: 'color'.")


def test_means_with_their_spread_are_summaries(tmp_path):
    log = read_text(tmp_path, "batch size,mean,sd,n\n16,100,5,4\n32,60,,1\n")
    assert summaries(log).rows() == [(16, None, 100.0, 5.0, 4), (32, None, 60.0, None, 1)]
    assert said(log, "standard deviation of one run, not of the mean")
    assert said(log, "Means leave no trace of runs that did not reach")


def test_a_standard_error_becomes_a_standard_deviation(tmp_path):
    log = read_text(tmp_path, "batch size,lr,mean_examples,sem,runs\n10,1,1000,50,4\n")
    assert summaries(log).rows() == [(10, 1.0, 100.0, 10.0, 4)]
    assert said(log, "times the square root of 'runs'")


def test_steps_beside_a_spread_are_means(tmp_path):
    assert summaries(read_text(tmp_path, "b,steps (k),std,count\n16,2,0.5,3\n")).rows() == [
        (16, None, 2000.0, 500.0, 3)
    ]


def test_curves_are_told_by_their_repeated_rows(tmp_path):
    text = "bs,lr,seed,step,time,val_acc\n" + "".join(
        f"{size},0.1,{seed},{step},9,{1 - 1 / step}\n" for size in (16, 32) for seed in (0, 1) for step in (2, 1, 4)
    )
    log = read_text(tmp_path, text)
    assert log.columns["metric"] == "val_acc"
    table = curves(log)
    assert table["run"].unique(maintain_order=True).to_list() == [
        f"batch_size={size} learning_rate=0.1 seed={seed}" for size in (16, 32) for seed in (0, 1)
    ]
    assert table.filter(pl.col("run") == table["run"][0]).select("step", "metric").rows() == [
        (1.0, 0.0), (2.0, 0.5), (4.0, 0.75)
    ]  # fmt: skip


def test_curves_keep_nan_and_leave_rows_without_the_metric(tmp_path):
    log = read_text(
        tmp_path, "bs,run,step,acc,loss\n8,a,1,0.1,5\n8,a,2,,4\n8,a,3,nan,3\n8,a,4,inf,2\n", columns={"metric": "acc"}
    )
    assert [str(value) for value in curves(log)["metric"]] == ["0.1", "nan", "inf"]
    assert said(log, "1 rows have no 'acc'")


def test_curves_by_epoch_and_in_percent(tmp_path):
    log = read_text(tmp_path, "bs,epoch,acc\n10,1,50%\n10,2,93.5 %\n", train_size=100)
    assert curves(log).select("step", "metric").rows() == [(10.0, 50.0), (20.0, 93.5)]
    assert said(log, "give the target in percent too")


def test_a_run_column_that_counts_within_batch_sizes_is_the_seed(tmp_path):
    text = "bs,run,step,acc\n" + "".join(f"{b},{run},{s},0.5\n" for b in (8, 16) for run in (1, 2) for s in (1, 2))
    log = read_text(tmp_path, text)
    assert curves(log)["run"].n_unique() == 4
    assert set(curves(log)["seed"]) == {"1", "2"}
    assert said(log, "taken as the seed")


ROWS = [
    {"batch_size": 16, "seed": 0, "opt": {"lr": 0.1}, "steps": 100},
    {"batch_size": 32, "opt": {"lr": 0.2}, "steps": ">9"},
]
JSONS = {
    "lines": ("log.jsonl", "\n".join(map(json.dumps, ROWS)) + "\n\n"),
    "a list": ("log.json", json.dumps(ROWS, indent=1)),
    "lines in a text file": ("log.txt", "\n".join(map(json.dumps, ROWS))),
    "columns": (
        "log.json",
        json.dumps({"batch_size": [16, 32], "seed": [0, None], "lr": [0.1, 0.2], "steps": [100, ">9"]}),
    ),
}


@pytest.mark.parametrize(("name", "text"), JSONS.values(), ids=JSONS)
def test_json_is_read_as(name, text, tmp_path):
    assert read_text(tmp_path, text, name).runs.rows() == [
        (16, 0.1, "0", 100.0, True, False),
        (32, 0.2, None, 9.0, False, False),
    ]


FINITE = st.floats(1e-6, 1e9, allow_subnormal=False)
RATES = st.one_of(st.none(), FINITE)


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    keys = draw(
        st.lists(st.tuples(st.integers(1, 2**40), RATES, st.integers(0, 99)), min_size=1, max_size=8, unique=True)
    )
    ends = [draw(st.tuples(FINITE, st.booleans())) for _ in keys]
    rows = [
        (size, rate, str(seed), steps, reached, False)
        for (size, rate, seed), (steps, reached) in zip(keys, ends, strict=True)
    ]
    return pl.DataFrame(rows, schema=RUNS, orient="row")


@settings(max_examples=25)
@given(table=tables(), form=st.sampled_from(["csv", "semicolons", "jsonl", "parquet"]))
def test_what_is_written_is_read(table, form, tmp_path_factory):
    path = tmp_path_factory.mktemp("tables") / f"log.{form}"
    match form:
        case "jsonl":
            table.write_ndjson(path)
        case "parquet":
            table.write_parquet(path)
        case _:
            table.write_csv(path, separator=";" if form == "semicolons" else ",")
    assert read_log(path).runs.equals(table)


def test_a_log_has_one_table_of_the_right_form():
    with pytest.raises(ValueError, match=r"exactly one of runs, summaries, curves must be there, not \[\]"):
        Log()
    with pytest.raises(ValueError, match=r"`Log\(runs=...\)`: has .* Cast the table"):
        Log(runs=pl.DataFrame({"batch_size": [1]}))
