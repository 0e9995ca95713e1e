"""What batch sizes that change cost to the target, beside the best fixed one."""

import altair as alt

from . import BLUE, GREEN, INK, VERMILION, Drawing, Result, Row, estimate, framed, number, point, tooltip

TITLE = "Would a ramp have saved time here?"
COLOURS = {"seconds": VERMILION, "steps": BLUE, "examples": GREEN}
WORDS = {
    "Ramp": "ramp, rate by root", "InsteadOfDecay": "growth instead of decay", "Seesaw": "Seesaw",
    "StepDecay": "rate cut alone (control)", "NormTest": "norm test", "NoiseControlled": "follows the noise scale",
    "CABS": "CABS", "AdaScale": "AdaScale",
}  # fmt: skip


def describe(result: Result) -> str:
    """Return what the chart shows, and the answer."""
    found = result.get("ramps") or {}
    said = str(found.get("sentence") or "nothing was tried")
    return (
        f"{said[:1].upper()}{said[1:]}. Each policy had its first batch size and learning rate chosen among as many as its table "
        "says, on the study's own seeds; ratios are of fresh seeds, paired. Seconds are t0 + t1 B for each step, fitted to this "
        "study's own steps: what a policy measures of the noise is not counted. Left of 1 is better than the best fixed batch size."
    )


def missing(result: Result) -> str | None:
    """Return why there is no chart, or None if there is one."""
    if not (result.get("ramps") or {}).get("arms"):
        return "No batch size that changes was tried in this sweep: `critbatch run --ramps` does."
    return None if _points(result) else "No policy reached the target on every seed."


def chart(result: Result) -> Drawing:
    """Return ratios of seconds, steps and examples, one row for each policy."""
    return framed(_layers(_points(result)).properties(width="container", height=_height(result)), live=True)


def still(result: Result) -> Drawing:
    """Return the same as a picture."""
    return framed(_layers(_points(result)).properties(width=520, height=_height(result)), live=False)


def rows(result: Result) -> list[Row]:
    """Return a row for each policy."""
    found = result.get("ramps") or {}
    return [
        {
            "policy": WORDS.get(str(row.get("policy")), str(row.get("policy"))),
            "first batch size": row.get("batch_size"),
            "learning rate": number(row.get("learning_rate")),
            "tried": row.get("tried"),
            "pairs": row.get("reached"),
            "seconds": estimate(row, "seconds"),
            "steps": estimate(row, "steps"),
            "examples": estimate(row, "examples"),
            "p (seconds, Holm)": number(row.get("p_value")),
        }
        for row in found.get("arms") or []
    ]


def _height(result: Result) -> int:
    return 48 * len({row["policy"] for row in _points(result)})


def _points(result: Result) -> list[Row]:
    found = [
        point(estimate(row, unit), policy=WORDS.get(str(row.get("policy")), str(row.get("policy"))), of=unit)
        for row in (result.get("ramps") or {}).get("arms") or []
        for unit in COLOURS
    ]
    return [row for row in found if row["value"] is not None and row["low"] is not None and row["low"] > 0]


def _layers(points: list[Row]) -> alt.LayerChart:
    order = list(dict.fromkeys(row["policy"] for row in points))
    scale = alt.Scale(type="log", nice=False, padding=12)
    title = "Ratio to the best fixed batch size"
    x = alt.X("value:Q", title=title, scale=scale, axis=alt.Axis(format=".2~g"))
    colours = alt.Scale(domain=list(COLOURS), range=list(COLOURS.values()))
    base = alt.Chart().encode(
        y=alt.Y("policy:N", sort=order, title=None, axis=alt.Axis(labelLimit=220)),
        yOffset=alt.YOffset("of:N", sort=list(COLOURS)), color=alt.Color("of:N", title=None, scale=colours),
    )  # fmt: skip
    shapes = alt.Shape(
        "of:N", title=None, scale=alt.Scale(domain=list(COLOURS), range=["circle", "square", "triangle-up"])
    )
    layers = [
        alt.Chart().mark_rule(color=INK, strokeDash=[4, 4]).encode(x=alt.datum(1.0)),
        base.mark_rule(strokeWidth=1.5).encode(x=alt.X("low:Q", title=title, scale=scale), x2="high:Q"),
        base.mark_point(filled=True, opacity=1, size=70).encode(
            x=x, shape=shapes, tooltip=tooltip(policy="policy", of="of")
        ),
    ]
    return alt.LayerChart(layer=layers, data=alt.Data(values=points))
