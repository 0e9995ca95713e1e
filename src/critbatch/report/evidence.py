"""The tables behind the answer: definitions side by side, rules, comparisons with their tests, targets, tuning."""

from collections.abc import Mapping
from typing import Any

from ..plots import Result, Row, budgets, estimate, in_percent, metric_is_fraction, number
from .tables import Table, table


def definitions(result: Result) -> Table:
    """Return every number that is called critical batch size, and how it follows from E_min/S_min."""
    return table(
        [
            {
                "definition": row.get("name"),
                "batch size": estimate(row, "estimate"),
                "from E_min/S_min": row.get("conversion") or "",
            }
            for row in result.get("critical_batch_sizes") or []
        ]
    )


def regimes(result: Result) -> Table:
    """Return the three regimes and their boundaries."""
    return table(
        [
            {
                "regime": row.get("name"),
                "from": estimate(row, "low") if row.get("low") else "the smallest batch",
                "to": estimate(row, "high") if row.get("high") else "any larger batch",
                "in words": row.get("words") or "",
            }
            for row in result.get("regimes") or []
        ]
    )


def shapes(result: Result) -> Table:
    """Return the formulas that were compared, the preferred one first."""
    return table(
        [
            {
                "formula": row.get("name"), "parameters": row.get("parameters"), "AICc": number(row.get("aicc")),
                "above the best": number(row.get("delta")),
            }
            for row in (result.get("fit") or {}).get("shapes") or []
        ]
    )  # fmt: skip


def targets(result: Result) -> Table:
    """Return the fit at several targets."""
    name = str((result.get("task") or {}).get("target_quantity") or "target").replace("_", " ")
    return table(
        [
            {
                name: number(row.get("target")), "S_min": estimate(row, "s_min"), "E_min": estimate(row, "e_min"),
                "critical batch size": estimate(row, "critical_batch_size"),
            }
            for row in result.get("targets") or []
        ]
    )  # fmt: skip


def rules(result: Result) -> Table:
    """Return which learning rate scaling rules the data exclude."""
    return table(
        [
            {
                "rule": str(row.get("name")).replace("_", " "),
                "verdict": "excluded" if row.get("excluded") else "not excluded",
                "lack of fit, p": number(row.get("p_value")),
                "bends at batch size": number(row.get("bend")) if row.get("bend") else "",
            }
            for row in (result.get("learning_rate_rule") or {}).get("tests") or []
        ]
    )


def plateaus(result: Result) -> Table:
    """Return all learning rates that are not told apart from the best one, for each batch size."""
    return table(
        [
            {
                "batch size": row.get("batch_size"),
                "best learning rate": estimate(row, "learning_rate"),
                "not told apart from the best": ", ".join(map(number, row.get("plateau") or [])) or "only the best",
            }
            for row in (result.get("learning_rate_rule") or {}).get("points") or []
        ]
    )


def tuning(result: Result) -> Table:
    """Return the expected fewest steps of the best of n learning rates, for n up to what all batch sizes had."""
    found = result.get("tuning") or []
    most = min((len(row.get("steps") or []) for row in found), default=0)
    return table(
        [
            {
                "batch size": row.get("batch_size"),
                **{f"best of {n + 1}": number(row["steps"][n]) for n in range(most)},
                "reached the target": f"{row.get('usable')} of {row.get('trials')}",
            }
            for row in found
        ]
    )


def comparisons(result: Result) -> list[tuple[str, Table]]:
    """Return for each budget and cost the tests of its winner against every other batch size."""
    found = [(label, reading.get("winner") or {}, True) for label, reading in budgets.readings(result)]
    found += [
        (f"fewest {unit} to the target", one, False) for unit, one in (result.get("target_winners") or {}).items()
    ]
    tables = []
    for label, winner, is_metric in found:
        rows = [_comparison(row, result, is_metric) for row in winner.get("rivals") or []]
        if rows:
            tables.append((f"{label}: batch size {number(winner.get('batch_size'))} against the others", table(rows)))
    return tables


def _comparison(row: Mapping[str, Any], result: Result, is_metric: bool) -> Row:
    def shown(found: Row) -> Row:
        return in_percent(found, result) if is_metric else found

    bootstrap = estimate(row, "bootstrap") if row.get("bootstrap") else None
    factor = 100.0 if is_metric and metric_is_fraction(result) else 1.0
    return {
        "against": row.get("batch_size"),
        "verdict": row.get("words") or "",
        "lead (Student t)" if is_metric else "lead as a ratio (Student t)": shown(estimate(row, "difference")),
        "lead (bootstrap-t)": shown(bootstrap) if bootstrap else "",
        "t test, p": number(row.get("t_p")),
        "Holm, p": number(row.get("holm_p")),
        "sign test, p": number(row.get("sign_p")),
        "equivalence (TOST), p": number(row.get("equivalence_p")),
        "margin": _scaled(row.get("margin"), factor),
        "smallest detectable": _scaled(row.get("detectable"), factor),
    }


def _scaled(value: float | None, factor: float) -> str:
    return number(None if value is None else factor * value)
