"""`critbatch probe` and `critbatch calibrate` as commands."""

import json
import subprocess
import sys

import pytest

SIZES = "1,4,16,64,256,1024"


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "critbatch", *words], capture_output=True, text=True, check=False)


def test_a_probe_is_one_json_document():
    done = command("probe", "digits", "--batch-sizes", SIZES, "--repeats", "10", "--no-memory", "--json")
    assert done.returncode in (0, 3), done.stderr
    document = json.loads(done.stdout)
    assert [row["batch_size"] for row in document["sizes"]] == [1, 4, 16, 64, 256, 1024]
    assert {"t0", "t1", "knee", "ninety_percent"} <= set(document["step_time"])
    assert document["accumulation"]["is_same"]
    assert document["memory"] is None
    assert (done.returncode == 0) == (document["step_time"]["knee"]["value"] is not None)


def test_a_probe_is_shown_on_a_screen():
    done = command("probe", "digits", "--batch-sizes", SIZES, "--repeats", "10", "--no-memory")
    assert done.returncode in (0, 3), done.stderr
    for words in ("examples", "fixed time of a step", "half of full speed", "micro-batches"):
        assert words in done.stdout


@pytest.mark.parametrize(("sizes", "said"), [("0,4", "above 0"), ("4,100000", "training"), ("a", "Write numbers")])
def test_batch_sizes_that_cannot_be_probed_are_refused(sizes, said):
    done = command("probe", "digits", "--batch-sizes", sizes, "--no-memory")
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_calibrate_passes_and_says_so_in_json():
    done = command("calibrate", "--quick", "--json")
    assert done.returncode == 0, done.stdout[-3000:]
    checks = json.loads(done.stdout)["checks"]
    assert all(one["passed"] for one in checks)
    assert {one["kind"] for one in checks} == {"moments", "curves", "comparisons", "hardware", "training"}
