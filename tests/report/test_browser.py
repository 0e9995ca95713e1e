"""The page in a browser: no request, no error, with and without JavaScript, light and dark, wide and narrow."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ..requirements import require
from .pages import KINDS, page, result

CHROMIUM = shutil.which("chromium")
DRAWN = "document.querySelectorAll('figure').length === document.querySelectorAll('figure.drawn').length"
CONTRAST = """selectors => {
  const number = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const ground = node => {
    for (; node; node = node.parentElement) {
      const color = number(getComputedStyle(node).backgroundColor);
      if (color.length < 4 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  return selectors.flatMap(selector => Array.from(document.querySelectorAll(selector)).map(node => {
    const [a, b] = [light(number(getComputedStyle(node).color)), light(ground(node))];
    return [selector, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  }));
}"""
TEXTS = ["h1", "h1 .name", "h2", "h3", "p", "li", "li a", "dt", "dd", "small", "summary", "th", "td", "td .missing",
         ".interval", ".notes dt", ".outcome", ".source", "code", "footer p", ".unknown", ".vega-bind label"]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    require(CHROMIUM is not None, "chromium is not installed: the page is not tried in a browser.")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for kind in KINDS:
        (folder / f"{kind}.html").write_bytes(page(kind).encode("utf-8"))
    return {kind: folder / f"{kind}.html" for kind in KINDS}


@contextlib.contextmanager
def opened(
    browser: Any, place: Path, *, width: int = 1280, scheme: Any = "light", script: bool = True
) -> Iterator[Any]:
    """Yield an open page, its charts drawn; then fail if it asked for anything, complained or opened a dialog."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=script
    )
    shown, requests, complaints = context.new_page(), [], []
    shown.on("request", lambda request: requests.append(request.url))
    shown.on("console", lambda message: complaints.append(message.text))
    shown.on("pageerror", lambda error: complaints.append(str(error)))
    shown.on("dialog", lambda dialog: (complaints.append(dialog.message), dialog.dismiss()))
    try:
        shown.goto(place.as_uri())
        if script:
            shown.wait_for_function(DRAWN, timeout=60_000)
        yield shown
        assert requests == [place.as_uri()]
        assert complaints == []
    finally:
        context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("kind", KINDS)
def test_the_page_fits_draws_and_asks_for_nothing(browser, places, kind, width, scheme):
    with opened(browser, places[kind], width=width, scheme=scheme) as shown:
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.evaluate("typeof window.hacked") == "undefined"
        for chart in shown.locator("figure").all():
            assert chart.locator(".live svg").count() == 1
            assert not chart.locator(".still").is_visible()
            box = chart.locator(".live svg").bounding_box()
            assert box["width"] <= width


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("kind", KINDS)
def test_without_javascript_the_pictures_show(browser, places, kind, width):
    with opened(browser, places[kind], width=width, script=False) as shown:
        pictures = shown.locator(".still svg")
        assert pictures.count() == shown.locator("figure").count()
        assert all(picture.is_visible() for picture in pictures.all())
        assert shown.locator(".live svg").count() == 0
        widths = [section.bounding_box() for section in shown.locator("section").all()]
        assert all(box["x"] + box["width"] <= width for box in widths)


def test_the_axis_of_the_curves_can_be_switched(browser, places):
    with opened(browser, places["full"]) as shown:
        chart = shown.locator("#figure-curves .live")
        lines = "nodes => nodes.map(node => node.getAttribute('d'))"
        before = chart.locator(".mark-line path").evaluate_all(lines)
        assert chart.get_by_text("Epochs", exact=True).count() == 2
        chart.get_by_label("Steps (updates)", exact=True).check()
        shown.wait_for_timeout(300)
        after = chart.locator(".mark-line path").evaluate_all(lines)
        assert len(before) == len(after) == 6
        assert before != after
        assert chart.get_by_text("Steps (updates)", exact=True).count() == 2
        chart.get_by_label("Training loss (logarithmic)", exact=True).check()
        shown.wait_for_timeout(300)
        assert chart.locator(".mark-line path").evaluate_all(lines) != after


def test_the_budget_can_be_selected(browser, places):
    with opened(browser, places["full"]) as shown:
        chart = shown.locator("#figure-budgets .live")
        options = chart.locator("select option").all_text_contents()
        assert len(options) == sum(map(len, result("full")["budgets"].values()))
        assert chart.locator("select").input_value() == "20 epochs"
        before = chart.locator(".mark-symbol.role-mark path").count()
        chart.locator("select").select_option("updates: 400 steps")
        shown.wait_for_timeout(300)
        assert (before, chart.locator(".mark-symbol.role-mark path").count()) == (6, 4)


def test_the_cells_can_show_steps(browser, places):
    with opened(browser, places["full"]) as shown:
        chart = shown.locator("#figure-grid .live")
        assert chart.get_by_text("○", exact=True).count() == 0
        chart.get_by_label("Steps to target", exact=True).check()
        shown.wait_for_timeout(300)
        assert chart.get_by_text("○", exact=True).count() > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["full", "poor"])
def test_text_can_be_read(browser, places, kind, scheme):
    with opened(browser, places[kind], scheme=scheme) as shown:
        found = shown.evaluate(CONTRAST, TEXTS)
        assert len(found) > 100
        assert [(selector, round(ratio, 2)) for selector, ratio in found if ratio < 4.5] == []


def test_the_check_of_contrast_catches_pale_text(browser, places):
    with opened(browser, places["poor"]) as shown:
        shown.evaluate("document.querySelector('h1').style.color = '#999999'")
        assert any(ratio < 4.5 for _, ratio in shown.evaluate(CONTRAST, ["h1"]))


def test_the_themes_differ_and_charts_stay_light(browser, places):
    colors = {}
    for scheme in ("light", "dark"):
        with opened(browser, places["poor"], scheme=scheme) as shown:
            color = "selector => getComputedStyle(document.querySelector(selector)).backgroundColor"
            colors[scheme] = [shown.evaluate(color, selector) for selector in ("body", "figure")]
    assert colors["light"][0] != colors["dark"][0]
    assert colors["light"][1] == colors["dark"][1] == "rgb(255, 255, 255)"


@pytest.mark.parametrize("script", [True, False])
def test_print_shows_pictures_and_opens_tables(browser, places, script):
    with opened(browser, places["full"], script=script) as shown:
        table = shown.locator("#curves table")
        height = "node => node.getBoundingClientRect().height"
        assert not table.is_visible()
        shown.emulate_media(media="print")
        assert all(picture.is_visible() for picture in shown.locator(".still svg").all())
        assert not any(chart.is_visible() for chart in shown.locator(".live svg").all())
        if script:
            assert table.evaluate(height) > 100
        assert table.bounding_box()["height"] > 100


def test_tables_open_and_scroll_in_their_own_box(browser, places):
    with opened(browser, places["full"], width=400) as shown:
        shown.locator("#curves summary").click()
        box = shown.locator("#curves .scroll")
        assert box.is_visible()
        assert box.evaluate("node => node.scrollWidth > node.clientWidth")
        assert shown.evaluate("document.documentElement.scrollWidth") <= 400
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.className") == "scroll"


def test_values_say_what_they_are_on_hover(browser, places):
    with opened(browser, places["full"]) as shown:
        shown.locator("#figure-steps .live .mark-symbol.role-mark path").nth(1).hover()
        tip = shown.locator("#vg-tooltip-element")
        tip.wait_for(state="visible")
        words = tip.text_content()
        assert "t interval over seeds" in words
        assert "1414 steps" in words or "1410 steps" in words


def test_the_skip_link_is_the_first_stop(browser, places):
    with opened(browser, places["poor"]) as shown:
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement.className") == "skip"
        assert shown.locator(".skip").bounding_box()["x"] >= 0


def test_the_policy_stops_scripts_that_get_in_all_the_same(browser, places, tmp_path):
    broken = tmp_path / "broken.html"
    text = places["poor"].read_text(encoding="utf-8")
    broken.write_text(text.replace("<h1>", "<script>window.hacked = 1</script><h1>"), encoding="utf-8")
    context = browser.new_context()
    shown = context.new_page()
    shown.goto(broken.as_uri())
    assert shown.evaluate("typeof window.hacked") == "undefined"
    context.close()


def test_a_print_of_the_tables_is_not_wider_than_the_paper(browser, places):
    with opened(browser, places["full"], width=794, script=False) as shown:  # A4 at 96 pixels an inch
        shown.emulate_media(media="print")
        assert all(table.bounding_box()["width"] <= 794 for table in shown.locator("table").all())
