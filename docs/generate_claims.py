"""Write docs/claims.md, claims.json and a picture of each verdict from docs/evidence: `make claims` calls it; no training.

What people wrote about the verdicts (docs/claims-answer.txt, docs/claims-conflicts.toml) names the outcomes it was
written for; where these have changed, this stops and says so.
"""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from critbatch.archive import read
from critbatch.claim import Claim, Figure, Outcome, Verdict, verdict_json
from critbatch.claims import registry
from critbatch.estimate import short
from critbatch.inquiry import Judged, reconsider
from critbatch.plots import DASHES, PALETTE, framed
from critbatch.statistics.comparisons import holm

DOCS = Path(__file__).parent
PICTURES = DOCS / "images" / "claims"
SPREAD = 3.0  # spans of the values that an interval is drawn beyond them
MARKS = {Outcome.SUPPORTED: "✔", Outcome.EQUIVALENT: "≈", Outcome.REFUTED: "✘", Outcome.INCONCLUSIVE: "?"}


def main() -> None:
    """Write the files."""
    archive = read(DOCS / "evidence")
    timings = archive.seconds
    found = list(reconsider(list(registry().values()), archive))
    outcomes = {one.claim.id: one.verdict.outcome.name if one.verdict else "NOT TRIED" for one in found}
    documents = [
        verdict_json(one.verdict, one.claim) | {"seconds": timings.get(one.claim.id), "command": command(one.claim)}
        for one in found
        if one.verdict
    ]
    text = json.dumps({"schema_version": 1, "claims": documents}, indent=1, sort_keys=True, allow_nan=False)
    (DOCS / "claims.json").write_text(text + "\n", encoding="utf-8")
    PICTURES.mkdir(parents=True, exist_ok=True)
    adjusted = family_wise(found)
    parts = [answer(outcomes), table(found, adjusted), conflicts(outcomes)]
    parts += [section(one, timings.get(one.claim.id), adjusted) for one in found]
    (DOCS / "claims.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def command(claim: Claim) -> str:
    """Return the command that gathers a claim's evidence anew."""
    return f"critbatch claims run {claim.id} --scale full"


def answer(outcomes: dict[str, str]) -> str:
    """Return the answer to the founding question, as written for these outcomes."""
    text = (DOCS / "claims-answer.txt").read_text("utf-8")
    check("docs/claims-answer.txt", dict(re.findall(r"<!-- ([A-Z]+-?\d+): ([A-Z]+) -->", text)), outcomes)
    return re.sub(r"<!--.*?-->\n?", "", text).strip()


def conflicts(outcomes: dict[str, str]) -> str:
    """Return what the data say of the conflicts between sources, as written for these outcomes."""
    lines = ["## Conflicts, adjudicated on the same runs"]
    for one in tomllib.loads((DOCS / "claims-conflicts.toml").read_text("utf-8"))["conflict"]:
        check(f"docs/claims-conflicts.toml, {one['title']}", one["outcomes"], outcomes)
        told = ", ".join(f"[{name}](#{anchor(name)}) {outcome}" for name, outcome in one["outcomes"].items())
        lines.append(
            f"### {one['title']}\n\n{one['text'].strip()}\n\nVerdicts: {told}. Budget: {one['budget']}. "
            f"Learning rate: {one['policy']}."
        )
    return "\n\n".join(lines)


def check(place: str, written: dict[str, str], outcomes: dict[str, str]) -> None:
    """Stop if a text was written for other outcomes than those that are."""
    changed = [
        f"{name} is {outcomes.get(name)}, not {was}" for name, was in written.items() if outcomes.get(name) != was
    ]
    if changed:
        sys.exit(f"{place} was written for other verdicts: {'; '.join(changed)}. Read the new ones and rewrite it.")


def anchor(claim: str) -> str:
    """Return the anchor of a claim's section."""
    return claim.lower()


def family_wise(found: list[Judged]) -> dict[str, float]:
    """Return the first part's p-value of every claim that has one, adjusted for their number (Holm)."""
    known = {one.claim.id: one.verdict.parts[0].p_value for one in found if one.verdict and one.verdict.parts}
    kept = {name: p for name, p in known.items() if p is not None}
    return dict(zip(kept, holm(list(kept.values())), strict=True))


def table(found: list[Judged], adjusted: dict[str, float]) -> str:
    """Return one line a claim."""
    lines = [
        "## All claims",
        "",
        "p, family-wise: of the quoted effect, adjusted for all claims on this page (Holm). It is not the gate.",
        "",
        "| claim | verdict | statement | quoted effect | p, family-wise |",
        "| --- | --- | --- | --- | --- |",
    ]
    for one in found:
        verdict = one.verdict
        outcome = f"{MARKS[verdict.outcome]} {verdict.outcome.name}" if verdict else "not tried"
        effect = quoted(verdict) if verdict else one.reason
        p_value = adjusted.get(one.claim.id)
        shown = "" if p_value is None else f"{p_value:.2g}"
        lines.append(
            f"| [{one.claim.id}](#{anchor(one.claim.id)}) | {outcome} | {one.claim.statement} | {effect} | {shown} |"
        )
    return "\n".join(lines)


def quoted(verdict: Verdict) -> str:
    """Return the effect that a verdict is quoted by."""
    if not verdict.parts:
        return ""
    effect = verdict.parts[0].effect
    return f"{effect.brief()} {effect.unit}" if effect.value is not None else f"none: {effect.reason}"


def section(one: Judged, seconds: float | None, adjusted: dict[str, float]) -> str:
    """Return the section of a claim."""
    claim, verdict = one.claim, one.verdict
    head = f"### {claim.id}\n\n*{claim.statement}*\n\n"
    facts = [
        f"Source: {claim.source}.",
        f"About {claim.about}; budget: {claim.budget}; learning rate: {claim.policy}.",
        f"Test beds: {', '.join(sorted({bed.name for bed in claim.beds('full').values()}))}.",
    ]
    if verdict is None:
        return f"{head}{' '.join(facts)}\n\n**Not tried**: {one.reason}"
    lines = [
        "| statement | verdict | effect | seeds | threshold | smallest effect to be found |",
        "| --- | --- | --- | ---: | --- | --- |",
    ]
    for part in verdict.parts:
        effect = f"{part.effect.brief()} {part.effect.unit}" if part.effect.value is not None else part.effect.reason
        least = "" if part.detectable is None else short(part.detectable)
        name = part.name if part.counts else f"(reported) {part.name}"
        lines.append(f"| {name} | {part.outcome.name} | {effect} | {part.effect.count} | {part.threshold} | {least} |")
    took = (
        ""
        if seconds is None
        else f" It took {seconds / 60:.1f} minutes on two cores; shared runs count where they came first."
    )
    published = f"\n\nPublished: {claim.published}" if claim.published else ""
    notes = "".join(f"\n- {note}" for note in verdict.notes)
    picture = draw(claim, verdict.figure)
    return (
        f"{head}{' '.join(facts)}\n\n**{verdict.outcome.name}.** {verdict.reason}.\n\n" + "\n".join(lines)
        + f"{published}{picture}{chr(10) * 2 + notes.strip() if notes else ''}\n\n"
        f"{len(verdict.runs):,} runs (ids in [claims.json](claims.json)); `{command(claim)}`.{took}"
    )  # fmt: skip


def draw(claim: Claim, figure: Figure | None) -> str:
    """Write the picture of a verdict and return the text that shows it; nothing where there is none."""
    place = PICTURES / f"{claim.id}.svg"
    rows = [] if figure is None else list(points(figure))
    if figure is None or not rows:
        place.unlink(missing_ok=True)
        return ""
    place.write_text(vl_convert.vegalite_to_svg(chart(figure, rows).to_dict(validate=False)), encoding="utf-8")
    return f"\n\n![{figure.y} against {figure.x}](images/claims/{claim.id}.svg)"


def points(figure: Figure) -> "list[dict[str, Any]]":
    """Return the data of a figure; what a logarithmic axis cannot show is left out, far ends are cut."""
    values = [value for line in figure.lines for _, _, value, _ in line.points]
    span = (max(values) - min(values)) or abs(values[0]) or 1.0 if values else 1.0
    low_end, high_end = (min(values, default=0) - SPREAD * span, max(values, default=0) + SPREAD * span)
    found = []
    for line in figure.lines:
        for x, low, value, high in line.points:
            if (figure.log_x and x <= 0) or (figure.log_y and value <= 0):
                continue
            low = value if low is None else max(low, low_end)
            high = value if high is None else min(high, high_end)
            if figure.log_y:
                low, high = max(low, value / 10), min(high, value * 10)
            found.append({"x": x, "low": low, "value": value, "high": high, "line": line.name})
    return found


def chart(figure: Figure, rows: "list[dict[str, Any]]") -> alt.LayerChart:
    """Return lines with intervals over one axis."""
    names = [line.name for line in figure.lines if line.points]
    colours = alt.Scale(domain=names, range=[PALETTE[index % len(PALETTE)] for index in range(len(names))])
    dashes = alt.Scale(domain=names, range=[DASHES[index % len(DASHES)] for index in range(len(names))])
    ticks = sorted({row["x"] for row in rows})
    x = alt.X(
        "x:Q", title=figure.x, scale=alt.Scale(type="log", nice=False) if figure.log_x else alt.Scale(zero=False, nice=False),
        axis=alt.Axis(values=ticks, format="~g", labelOverlap="greedy", grid=False) if len(ticks) <= 14 else alt.Axis(grid=False),
    )  # fmt: skip
    scale = alt.Scale(type="log") if figure.log_y else alt.Scale(zero=False)
    legend = alt.Legend(title=None) if len(names) > 1 else None
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=alt.Color("line:N", scale=colours, legend=legend))
    lines = base.mark_line(strokeWidth=1.6).encode(
        y=alt.Y("value:Q", title=figure.y, scale=scale),
        strokeDash=alt.StrokeDash("line:N", scale=dashes, legend=legend),
    )
    dots = base.mark_circle(size=42, opacity=1).encode(y=alt.Y("value:Q", scale=scale, title=figure.y))
    bars = base.mark_rule(strokeWidth=1.3).encode(y=alt.Y("low:Q", scale=scale, title=figure.y), y2="high:Q")
    return framed(alt.layer(bars, lines, dots).properties(width=520, height=260), live=False)


if __name__ == "__main__":
    main()
