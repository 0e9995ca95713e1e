"""What the page says in words: endings, key numbers, provenance."""

import math
from collections.abc import Mapping
from typing import Any

from ..plots import Result, Row, estimate, number

ENDINGS = {
    "TARGET": "reached the target", "BUDGET": "spent the budget", "DIVERGED": "diverged",
    "INFEASIBLE": "ran out of memory", "FAILED": "failed with an error",
}  # fmt: skip
MOST_ITEMS = 60  # of one list of the plan


def finite(value: Any) -> Any:
    """Return JSON types with None for every number that is not finite, so that no page shows NaN."""
    if isinstance(value, Mapping):
        return {str(key): finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def endings(result: Result) -> list[tuple[str, int]]:
    """Return how many runs ended in each way, in words; ways in which no run ended are left out."""
    counts = result.get("endings") or {}
    known = sorted(counts, key=lambda name: list(ENDINGS).index(name) if name in ENDINGS else len(ENDINGS))
    return [(ENDINGS.get(name, name), counts[name]) for name in known if counts[name]]


def failed(result: Result) -> int:
    """Return how many runs failed with an error."""
    return (result.get("endings") or {}).get("FAILED") or 0


def key_numbers(result: Result) -> list[tuple[str, Row]]:
    """Return the numbers that lead the page, with their names."""
    fit, rule = result.get("fit") or {}, result.get("learning_rate_rule") or {}
    absent = None if fit else "No curve was fitted to steps to target."
    critical, early = (
        {**found, "reason": absent or fit.get("reason") or found["reason"]} if found["value"] is None else found
        for found in (estimate(fit, "critical_batch_size"), estimate(fit, "critical_batch_size_20pct"))
    )
    return [
        ("Critical batch size", critical),
        ("Largest batch size within 20 % of perfect scaling", early),
        ("Learning-rate exponent", _with_reason(estimate(rule, "exponent"), rule.get("reason"))),
        _noise(result),
    ]


def _with_reason(found: Row, reason: str | None) -> Row:
    return {**found, "reason": reason or found["reason"]} if found["value"] is None else found


def _noise(result: Result) -> tuple[str, Row]:
    looks = result.get("noise_scale") or []
    known = [row for row in looks if estimate(row, "noise_scale")["value"] is not None]
    if known:
        return f"Gradient noise scale at epoch {number(known[-1].get('epochs'))}", estimate(known[-1], "noise_scale")
    reason = f"Undetermined at every look ({len(looks)})." if looks else "Not measured in this sweep."
    return "Gradient noise scale", _with_reason(estimate({}, "noise_scale"), reason)


def target(result: Result) -> str:
    """Return the target in words."""
    task = result.get("task") or {}
    if task.get("target_quantity") is None or task.get("target_value") is None:
        return "no target"
    sign = {"above": "≥", "below": "≤"}.get(task.get("target_direction") or "", "at")
    origin = f" ({task['target_origin']})" if task.get("target_origin") else ""
    return f"{str(task['target_quantity']).replace('_', ' ')} {sign} {number(task['target_value'])}{origin}"


def duration(seconds: float | None) -> str:
    """Return seconds in words."""
    if seconds is None:
        return "not recorded"
    if seconds < 120:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def plan(result: Result) -> list[tuple[str, str]]:
    """Return the plan's fields in words, without the command."""
    found = result.get("plan") or {}
    return [(str(key).replace("_", " "), words(value)) for key, value in found.items() if key != "command"]


def words(value: Any) -> str:
    """Return JSON types as a short text: objects with a kind as `Kind(field value)`, lists with commas."""
    if isinstance(value, Mapping):
        joint = " " if "kind" in value else ": "
        fields = [f"{str(key).replace('_', ' ')}{joint}{words(part)}" for key, part in value.items() if key != "kind"]
        inner = "; ".join(fields[:MOST_ITEMS])
        if "kind" not in value:
            return inner
        return f"{value['kind']} ({inner})" if inner else str(value["kind"])
    if isinstance(value, list):
        more = f" and {len(value) - MOST_ITEMS} more" if len(value) > MOST_ITEMS else ""
        return ", ".join(words(part) for part in value[:MOST_ITEMS]) + more if value else "none"
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    return number(value) if isinstance(value, (int, float)) else str(value)
