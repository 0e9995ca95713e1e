"""What an archive keeps of evidence, and that judges read the same from it."""

import numpy as np
import polars as pl
import pytest

from critbatch.archive import Archive, read, thin, write
from critbatch.claims import registry
from critbatch.inquiry import gathered, reconsider
from critbatch.judging.worlds import exhibit_in
from critbatch.measurement import look_steps
from critbatch.record import Evidence

CLAIM = registry()["QA-2"]


def test_thin_keeps_every_second_look_the_last_six_and_all_that_is_measured():
    steps = look_steps()[:40]
    measured = steps[::5]
    rows = [(one, "train_loss", 1.23456789) for one in steps] + [(one, "noise_scale", 1.23456789) for one in measured]
    records = pl.DataFrame(
        {"run": ["a"] * len(rows), "step": [one for one, _, _ in rows], "examples": [one for one, _, _ in rows],
         "seconds": [1.0] * len(rows), "quantity": [name for _, name, _ in rows], "value": [value for _, _, value in rows]}
    )  # fmt: skip
    found = thin(Evidence(pl.DataFrame({"run": ["a"]}), records)).records
    common = found.filter(pl.col("quantity") == "train_loss")["step"].to_list()
    assert common == [one for index, one in enumerate(steps) if index % 2 == 0 or index % 5 == 0 or index >= 34]
    assert found.filter(pl.col("quantity") == "noise_scale")["step"].to_list() == measured
    assert found["value"].to_list() == pytest.approx([1.2346] * len(found), abs=1e-7)


def test_an_archive_gives_the_verdict_of_the_evidence_that_it_was_made_from(tmp_path):
    exhibit = exhibit_in(CLAIM, "true", 0)
    thinned = thin(exhibit.evidence)
    facts = {"main": exhibit.facts["main"]}
    direct = CLAIM.judge(gathered(CLAIM, "full", facts, lambda _: thinned))
    archive = Archive()
    archive.add(thinned, facts.values())
    archive.seconds["QA-2"] = 3.0
    write(archive, tmp_path)
    again = read(tmp_path)
    assert again.seconds == {"QA-2": 3.0}
    (judged,) = reconsider([CLAIM], again)
    assert judged.verdict is not None
    assert judged.verdict.outcome is direct.outcome
    assert judged.verdict.parts[0].effect == direct.parts[0].effect
    assert again.evidence().records.height == thinned.records.height
    assert np.isfinite(again.evidence().records["value"].to_numpy()).all()


def test_runs_that_failed_are_not_kept():
    exhibit = exhibit_in(CLAIM, "true", 0)
    runs = exhibit.evidence.runs.with_columns(
        ending=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("FAILED")).otherwise("ending")
    )
    archive = Archive()
    archive.add(Evidence(runs, exhibit.evidence.records), exhibit.facts.values())
    assert not archive.holds(runs["run"][0])
    assert archive.holds(runs["run"][1])


def test_a_folder_that_is_no_archive_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is no archive of evidence: it lacks runs"):
        read(tmp_path)
