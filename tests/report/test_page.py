"""The page as text: what it says, what it escapes, and that it needs nothing else."""

import base64
import collections
import copy
import hashlib
import json
import math
import re
import subprocess
import sys

import pytest

from critbatch.report import facts, figures, page, render, tables, write

from .. import findings
from .pages import KINDS, Reader, read, result
from .pages import page as text_of


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def test_programs_find_the_whole_result_in_the_page(kind):
    blocks = [text for attributes, text in read(kind).scripts if attributes.get("id") == "result"]
    assert [json.loads(text) for text in blocks] == [result(kind)]


def test_scripts_are_two_and_the_policy_names_exactly_them(kind):
    reader = read(kind)
    running = [text for attributes, text in reader.scripts if "type" not in attributes]
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in running]
    policy = next(a["content"] for tag, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"].split() == [f"'sha256-{digest}'" for digest in digests]
    assert len(digests) == 2
    assert directives["img-src"] == "data:"


def test_nothing_is_loaded_and_no_element_of_the_result_gets_in(kind):
    tags = read(kind).tags
    names = {tag for tag, _ in tags}
    assert names.isdisjoint({"link", "img", "iframe", "object", "embed", "base", "form"})
    for tag, attributes in tags:
        assert not any(name.startswith("on") for name in attributes), tag
        assert "src" not in attributes, tag
        assert (attributes.get("href") or "#").startswith("#"), tag


def test_ids_are_unique_even_among_the_pictures(kind):
    ids = collections.Counter(attributes["id"] for _, attributes in read(kind).tags if "id" in attributes)
    assert [name for name, count in ids.items() if count > 1] == []


def test_every_reference_inside_the_page_leads_somewhere(kind):
    ids = {attributes.get("id") for _, attributes in read(kind).tags}
    for _, attributes in read(kind).tags:
        for name in ("href", "aria-labelledby"):
            if attributes.get(name):
                assert (attributes[name] or "").removeprefix("#") in ids
    assert set(re.findall(r"url\(#([^)]+)\)", text_of(kind).split("<script")[0])) <= ids


def test_hostile_text_is_shown_as_text():
    reader = read("hostile")
    assert findings.HOSTILE in reader.text
    assert "49" not in re.findall(r"\d+", reader.text)  # {{7*7}} stays as it is
    assert len(reader.scripts) == 4


def test_the_reader_would_notice_text_that_is_not_escaped():
    reader = Reader(f"<p>{findings.HOSTILE}</p>")
    assert findings.HOSTILE not in reader.text
    assert reader.scripts


def test_blocks_cannot_be_ended_from_inside():
    block = figures.block({"</script>": "<!--<script>"})
    assert "<" not in block
    assert json.loads(block) == {"</script>": "<!--<script>"}


def test_sections_come_in_order():
    sections = [attributes["id"] for tag, attributes in read("full").tags if tag == "section" and "id" in attributes]
    assert sections == [
        "problems", "answer", "budgets", "curves", "steps", "rates", "grid", "noise", "solutions", "pareto", "ramps",
        "definitions", "rule", "comparisons", "tables", "claims", "method",
    ]  # fmt: skip


def test_the_page_has_landmarks_a_language_and_a_skip_link(kind):
    tags = read(kind).tags
    names = collections.Counter(tag for tag, _ in tags)
    assert [names[name] for name in ("header", "nav", "main", "footer", "h1")] == [1] * 5
    assert ("html", {"lang": "en"}) in tags
    assert next(a["href"] for tag, a in tags if tag == "a") == "#main"


def test_missing_values_show_reasons_and_never_nan_or_none(kind):
    words = set(re.findall(r"\w+", read(kind).text))
    assert words.isdisjoint({"nan", "NaN", "None", "null", "undefined", "Infinity", "inf"})


def test_numbers_that_are_not_finite_never_reach_the_page():
    broken = result("full")
    broken["curves"][3]["train_loss"] = math.nan
    broken["batch_sizes"][0]["steps_to_target"]["high"] = math.inf
    reader = Reader(render(broken))
    assert {"nan", "NaN", "inf", "Infinity"}.isdisjoint(re.findall(r"\w+", reader.text))
    block = next(text for attributes, text in reader.scripts if attributes.get("id") == "result")
    assert json.loads(block)["curves"][3]["train_loss"] is None


def test_the_answer_is_on_top():
    text = read("full").text
    order = ["Batch size 1024 never reached the target", "Recommended batch size", "Why", "Critical batch size"]
    assert sorted(order, key=text.index) == order
    assert "64 [16, 64]" in text
    assert "90 examples [62, 131]" in text
    assert "E_min / S_min of the fitted curve" in text


def test_without_a_recommendation_the_reason_stands_there():
    text = read("poor").text
    assert "No recommendation No batch size has steps to target. Measure 3 or more seeds next." in text
    assert "Recommended batch size" not in text


def test_failures_lead():
    text = read("poor").text
    assert "1 run failed with an error." in text
    assert text.index("1 run failed") < text.index("The answer")
    assert "failed with an error" not in read("full").text


def test_every_figure_has_a_picture_and_a_table():
    tags = read("full").tags
    figure_ids = {attributes.get("id") for tag, attributes in tags if tag == "figure"}
    assert figure_ids == {f"figure-{name}" for name in page.FIGURES}
    assert sum(attributes.get("role") == "img" for _, attributes in tags) == len(figure_ids)
    specifications = next(
        json.loads(text) for attributes, text in read("full").scripts if attributes.get("id") == "charts"
    )
    assert set(specifications) == set(page.FIGURES)
    assert (
        sum(tag == "table" for tag, _ in tags) == len(figure_ids) + 10
    )  # the full tables, and those behind the answer


@pytest.mark.parametrize("gone", [None, "absent"])
def test_optional_parts_may_be_missing(gone):
    full = result("full")
    optional = set(full) - {"task", "batch_sizes"}
    less = {key: value for key, value in full.items() if key not in optional} | (
        dict.fromkeys(optional) if gone is None else {}
    )
    text = Reader(render(less)).text
    assert "No recommendation" in text
    assert "No curve was fitted" in text


def test_an_empty_result_still_gives_a_page():
    text = Reader(render({})).text
    assert "an unnamed task" in text
    assert text.count("No chart.") == len(page.FIGURES) - len(page.ON_REQUEST)


def test_the_same_result_makes_the_same_page():
    assert render(result("poor")) == text_of("poor")


def test_rendering_leaves_the_result_alone():
    given = result("poor")
    before = copy.deepcopy(given)
    render(given)
    assert given == before


def test_writing_is_whole_or_not_at_all(tmp_path):
    place = tmp_path / "deep" / "report.html"
    write(result("poor"), place)
    assert place.read_text(encoding="utf-8") == text_of("poor")
    with pytest.raises(TypeError, match="not JSON serializable"):
        write({"task": {"name": object()}}, place)
    assert place.read_text(encoding="utf-8") == text_of("poor")
    assert [path.name for path in place.parent.iterdir()] == ["report.html"]


def test_pages_are_made_without_torch_and_sqlalchemy():
    code = "import sys, critbatch.report; print(sorted({'torch', 'sqlalchemy', 'polars'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_table_notes_what_its_estimates_are():
    estimates = [findings.estimate(value, unit="steps", count=count).to_json() for value, count in ((1.0, 3), (2.0, 5))]
    made = tables.table([{"size": 1, "steps": estimates[0]}, {"size": 2, "steps": estimates[1]}])
    assert made.columns == ("size", "steps")
    (note,) = made.notes
    assert (note.column, note.level, note.counts) == ("steps", "95 % interval", "3 to 5")
    assert (note.method, note.definition) == ("t interval over seeds", "Mean over seeds, in steps.")


def test_an_empty_table_is_empty():
    assert tables.table([]) == tables.Table((), (), ())


def test_winners_are_listed_for_every_reading():
    full = result("full")
    made = tables.budget_winners(full)
    assert len(made.rows) == sum(map(len, full["budgets"].values()))
    leads = [column for column in made.columns if column.startswith("lead in test accuracy (percentage points)")]
    assert leads
    assert [row[0] for row in tables.target_winners(full).rows] == ["steps", "seconds"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"kind": "Sgd", "momentum": 0.9}, "Sgd (momentum 0.9)"), ({"kind": "Shuffled"}, "Shuffled"),
        ({"8": [0.1, 0.2], "16": [1]}, "8: 0.1, 0.2; 16: 1"), (True, "yes"), (None, "none"), ("text", "text"), ([], "none"),
        (list(range(100)), ", ".join(map(str, range(60))) + " and 40 more"),
    ],
)  # fmt: skip
def test_plans_are_put_into_words(value, text):
    assert facts.words(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "not recorded"), (0.4, "0.4 s"), (143.2, "2 min 23 s"), (7260.0, "2 h 1 min")],
)
def test_durations_are_put_into_words(seconds, text):
    assert facts.duration(seconds) == text


def test_endings_are_put_into_words_and_unknown_ones_kept():
    counts = {"FAILED": 2, "TARGET": 3, "DIVERGED": 0, "STOLEN": 1}
    assert facts.endings({"endings": counts}) == [("reached the target", 3), ("failed with an error", 2), ("STOLEN", 1)]
