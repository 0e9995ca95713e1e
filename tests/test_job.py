"""The Python interface, as the README shows it."""

import numpy as np
import polars as pl
import pytest

import critbatch as cb
from critbatch.study import Workshop, analyse, carry_out
from tests.problems import blob_task, regression_task, small_mlp

FEW = {"batch_sizes": [1, 8, 96], "learning_rates": [0.1, 0.4, 1.6], "seeds": 2, "progress": False}


def test_every_public_name_is_importable_and_listed():
    for name in cb.__all__:
        assert getattr(cb, name).__name__ == name
    assert dir(cb) == cb.__all__
    with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'. It has: AdaScale, Adam"):
        cb.nonsense  # noqa: B018


def test_three_lines_give_a_result(tmp_path):
    task = blob_task()
    result = cb.run(task, **FEW, budget=cb.Longest((cb.Epochs(4), cb.Steps(80))), out=tmp_path)
    assert isinstance(result.to_frame(), pl.DataFrame)
    assert (
        len(result.to_frame()) == 26
    )  # two batch sizes: the grid, the noise cell again, and the best rates on fresh seeds
    assert result.fit is not None
    assert result.report(tmp_path / "page.html").read_text().startswith("<!")
    assert "<table>" in result._repr_html_()
    assert (tmp_path / "result.json").exists()
    again = cb.reread(str(tmp_path / "runs.db"))
    assert again.to_json() == result.to_json()


def test_a_name_cannot_leave_the_results_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="becomes part of file names"):
        blob_task(name="../../etc")
    task = blob_task(name="..<b>x")
    result = cb.run(task, batch_sizes=[96], learning_rates=[0.1], seeds=1, budget=cb.Steps(2), progress=False)
    assert [one.name for one in (tmp_path / "critbatch-results").iterdir()] == ["b-x"]
    assert "<b>x" not in result._repr_html_()


def test_learning_rates_are_searched_until_the_best_is_inside(tmp_path):
    task = regression_task()
    result = cb.run(task, batch_sizes=[16, 64, 256], seeds=3, budget=cb.Steps(100), out=tmp_path, progress=False)
    # one step law of isotropic regression: best rate 1/(1 + (d + 1)/B), d = 4 (at B = 1 the law is one of the mean, and
    # the typical run is best at a higher rate)
    for row, best in zip(result.finding.batch_sizes, (16 / 21, 64 / 69, 256 / 261), strict=True):
        assert row.learning_rate_at_edge == "none"
        assert row.best_learning_rate.value == pytest.approx(best, rel=0.35)
        assert row.runs >= 7 * 3
    pilots = result.to_frame().group_by("batch_size", "learning_rate").len().filter(pl.col("len") == 1)
    assert len(pilots) >= 3


def test_the_search_extends_a_bracket_that_starts_far_off(tmp_path):
    task = regression_task()
    far = cb.SGD(weight_decay=0.0)
    result = cb.run(task, batch_sizes=[256], seeds=2, budget=cb.Steps(60), optimizer=far, out=tmp_path, progress=False)
    assert result.finding.batch_sizes[0].learning_rate_at_edge == "none"


def test_a_study_reads_the_same_from_any_store():
    task = blob_task()
    findings = []
    for _ in range(2):
        with cb.Memory() as store:
            shop = Workshop(store, cb.Serial())
            from critbatch.job import make_design

            design = make_design(task, batch_sizes=[8, 96], learning_rates=[0.1, 0.4], seeds=2, budget=cb.Steps(30))
            finding, evidence = carry_out(task, design, shop)
            assert analyse(store.studies()[0], evidence) == finding
            findings.append(finding)
    assert findings[0].batch_sizes[0].steps_to_target == findings[1].batch_sizes[0].steps_to_target


def test_a_lambda_model_trains_in_this_process_and_is_refused_by_processes(tmp_path):
    task = blob_task(lambda: small_mlp())
    with pytest.raises(ValueError, match="module level"):
        cb.run(task, **FEW, budget=cb.Steps(2), out=tmp_path, executor=cb.Processes(2))
    assert cb.run(task, **FEW, budget=cb.Steps(2), out=tmp_path).finding.endings["BUDGET"] == 26


def test_fresh_data_streams_train(tmp_path):
    def draw(generator, count):
        import torch

        inputs = torch.randn(count, 4, generator=generator)
        return inputs, (inputs.sum(1) > 0).long() + (inputs[:, 0] > 1).long()

    import torch

    test = draw(torch.Generator().manual_seed(9), 200)
    task = cb.Task(name="stream", model=small_mlp, train=cb.Stream(draw, 64), test=test)
    result = cb.run(
        task, batch_sizes=[4, 64], learning_rates=[0.1, 0.5], seeds=2, budget=cb.Epochs(5), out=tmp_path, progress=False
    )
    assert np.isfinite(result.finding.batch_sizes[0].test_metric.value)
    assert result.finding.task.target_origin.startswith("chosen")
