"""`critbatch fit` on tables as people make them: answered, or refused with what is missing."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import critbatch
from critbatch.job import fit as fit_file

ROOT = Path(__file__).resolve().parents[1]
SIZES = (1, 4, 16, 64, 256, 1024)
S_MIN, E_MIN = 20.0, 2000.0


def steps(seeds: int = 5, noise: float = 0.1) -> np.ndarray:
    """Return planted steps, (size, seed)."""
    draw = np.random.default_rng(0)
    return (S_MIN + E_MIN / np.array(SIZES))[:, None] * np.exp(draw.normal(0, noise, (len(SIZES), seeds)))


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "critbatch", *words], capture_output=True, text=True, check=False)


def holds(fit, truth: float = E_MIN / S_MIN) -> bool:
    return fit.identified and fit.critical_batch_size.low <= truth <= fit.critical_batch_size.high


def test_a_spreadsheet_with_a_column_for_each_seed(tmp_path):
    table = steps()
    lines = ["Batch size;seed 1;seed 2;seed 3;seed 4;seed 5"]
    lines += [
        ";".join([str(size), *(f"{one:.1f}".replace(".", ",") for one in row)])
        for size, row in zip(SIZES, table, strict=True)
    ]
    (tmp_path / "mine.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", "utf-8")
    found = fit_file(tmp_path / "mine.csv")
    assert holds(found.fit)
    assert found.recommendation.batch_size.value == found.fit.critical_batch_size.value
    assert any("learning rate" in warning for warning in found.finding.warnings)


def long_table(**more) -> pl.DataFrame:
    table = steps()
    rows = [(size, seed, table[at, seed]) for at, size in enumerate(SIZES) for seed in range(5)]
    return pl.DataFrame(rows, schema=["batch_size", "seed", "steps"], orient="row").with_columns(**more)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_a_table_in_long_form(tmp_path, suffix):
    path = tmp_path / f"runs{suffix}"
    table = long_table()
    {".csv": table.write_csv, ".jsonl": table.write_ndjson, ".parquet": table.write_parquet}[suffix](path)
    found = fit_file(path)
    assert holds(found.fit)
    assert "jackknife" in found.fit.critical_batch_size.method
    assert found.to_frame().height == 30


def test_missing_seeds_do_not_matter_much(tmp_path):
    table = long_table().filter(~((pl.col("seed") == 3) & (pl.col("batch_size") > 16)))
    table.write_csv(tmp_path / "runs.csv")
    assert holds(fit_file(tmp_path / "runs.csv").fit)


def test_censored_rows_are_kept(tmp_path):
    table = long_table(reached=pl.col("steps") <= 1000).with_columns(steps=pl.col("steps").clip(upper_bound=1000))
    table.write_csv(tmp_path / "runs.csv")
    found = fit_file(tmp_path / "runs.csv")
    assert holds(found.fit)
    assert found.fit.censored == (1,)
    row = found.finding.batch_sizes[0]
    assert row.steps_to_target.value is None
    assert row.steps_to_target.low == pytest.approx(1000)
    # the fault: leaving them out would leave five batch sizes and no word of the first
    assert row.censored == 5


def test_means_with_standard_deviations(tmp_path):
    table = steps()
    pl.DataFrame({
        "batch_size": SIZES, "mean steps": table.mean(1), "sd": table.std(1, ddof=1), "n": [5] * 6,
    }).write_csv(tmp_path / "means.csv")  # fmt: skip
    found = fit_file(tmp_path / "means.csv")
    assert holds(found.fit)
    assert "standard deviations as given" in found.fit.critical_batch_size.method


def test_whole_curves_with_a_target(tmp_path):
    rows = []
    looks = np.unique(np.geomspace(1, 5000, 60).astype(int))
    for at, size in enumerate(SIZES):
        for seed in range(3):
            arrives = steps()[at, seed]
            rows += [
                (f"{size}-{seed}", size, seed, int(look), 0.9 * np.log1p(look) / np.log1p(arrives)) for look in looks
            ]
    table = pl.DataFrame(rows, schema=["run", "batch_size", "seed", "step", "accuracy"], orient="row")
    table.write_csv(tmp_path / "curves.csv")
    with pytest.raises(ValueError, match="say with --target"):
        fit_file(tmp_path / "curves.csv")
    found = fit_file(tmp_path / "curves.csv", target=0.9)
    assert holds(found.fit)
    first = found.finding.batch_sizes[0].steps_to_target
    assert first.low < S_MIN + E_MIN < first.high


def test_learning_rates_are_chosen_among_those_logged(tmp_path):
    parts = [
        long_table(learning_rate=pl.col("batch_size").sqrt() * 0.1 * factor).with_columns(steps=pl.col("steps") * worse)
        for factor, worse in ((0.5, 1.3), (1.0, 1.0), (2.0, 1.3))
    ]
    pl.concat(parts).write_csv(tmp_path / "runs.csv")
    found = fit_file(tmp_path / "runs.csv")
    assert holds(found.fit)
    rule = found.finding.learning_rate_rule
    assert rule.exponent.value == pytest.approx(0.5, abs=0.05)
    assert "square_root" in rule.not_excluded
    assert found.recommendation.learning_rate.value is not None


def test_a_single_batch_size_says_what_to_add_and_exits_with_3(tmp_path):
    long_table().filter(pl.col("batch_size") == 16).write_csv(tmp_path / "one.csv")
    done = command("fit", str(tmp_path / "one.csv"))
    assert done.returncode == 3, done.stderr
    assert "add batch sizes" in done.stdout
    assert "No recommendation" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("batch_size,steps\n0,10\n2,5\n", "batch"),
        ("batch_size,steps\n1,-10\n2,5\n", "steps"),
        ("a,b\n1,2\n", "no column of steps"),
        ("", "empty|no rows|nothing"),
        ("Dear diary, today I trained a network.\n", "batch|column"),
    ],
)
def test_nonsense_is_refused_in_one_line(tmp_path, text, said):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=rf"(?i){said}"):
        fit_file(tmp_path / "bad.csv")


def test_the_command_prints_json_and_writes_a_report(tmp_path):
    done = command("fit", str(ROOT / "examples" / "steps.csv"), "--json", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["fit"]["identified"]
    assert document == json.loads((tmp_path / "result.json").read_text())
    assert "definitions side by side" in (tmp_path / "report.html").read_text()


def test_the_example_is_read_by_the_command():
    done = command("fit", str(ROOT / "examples" / "steps.csv"))
    assert done.returncode == 0, done.stderr
    assert "Critical batch size" in done.stdout
    assert "Recommended" in done.stdout


def test_a_wrong_option_says_how_to_write_it():
    done = command("fit", str(ROOT / "examples" / "steps.csv"), "--column", "batch")
    assert done.returncode == 2
    assert "ROLE=NAME" in done.stderr
    done = command("fit", str(ROOT / "examples" / "steps.csv"), "--target", "0.9")
    assert done.returncode == 2
    assert "'>0.9'" in done.stderr


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="columns of one length"):
        critbatch.fit_steps_to_target([1, 2], [3.0])
    with pytest.raises(ValueError, match="must be above 0"):
        critbatch.fit_steps_to_target([1, 2], [3.0, -1.0])
