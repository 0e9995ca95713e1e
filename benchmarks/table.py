"""Timings as Markdown tables. Pure functions of engine.json's dictionary."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
Case = tuple[str, int]

# How many times faster than the DataLoader loop and the indexing loop; at most how many times the time of JAX.
PROMISED: dict[Case, tuple[float | None, float | None, float | None]] = {
    ("mlp_digits", 1): (40, 30, 1.5),
    ("mlp_digits", 8): (40, 30, 1.5),
    ("mlp_digits", 32): (12, 8, 1.2),
    ("mlp_digits", 128): (8, 4, 1.2),
    ("mlp_mnist", 1): (8, 6, 2),
    ("mlp_mnist", 32): (2.5, 2, 1.4),
    ("mlp_mnist", 128): (2, 1.5, 1.1),
    ("mlp_mnist", 1024): (2, 1.3, 1),
    ("mlp_batchnorm", 32): (None, 1.7, 1),
    ("mlp_batchnorm", 128): (None, 1.1, 1),
    ("cnn_small", 32): (None, 1.1, None),
}
AGAINST = ("DataLoader loop", "indexing loop", "JAX scan(vmap)")


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; all columns but the first are right-aligned."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def medians(document: Document) -> dict[Case, dict[str, float]]:
    """Return the median seconds per update of each variant, by workload and batch size."""
    found: dict[Case, dict[str, float]] = {}
    for cell in document["cells"]:
        case = found.setdefault((cell["workload"], cell["batch_size"]), {})
        if "median" in cell:
            case[cell["variant"]] = cell["median"]
    return found


def variants(document: Document, peer: str = "") -> list[str]:
    """Return the variants in the order in which they were asked; those of one peer if it is named."""
    return list(dict.fromkeys(cell["variant"] for cell in document["cells"] if peer in ("", cell["peer"])))


def best_tier(document: Document) -> dict[Case, tuple[str, float]]:
    """Return our fastest tier of each case, and its seconds per update."""
    tiers = variants(document, "ours")
    found: dict[Case, tuple[str, float]] = {}
    for case, known in medians(document).items():
        ours = [(known[tier], tier) for tier in tiers if tier in known]
        if ours:
            seconds, tier = min(ours)
            found[case] = tier, seconds
    return found


def times(document: Document) -> str:
    """Return microseconds per model update: a row for each case, a column for each variant."""
    columns = variants(document)
    titles = {cell["workload"]: cell["title"] for cell in document["cells"]}
    details = {
        (cell["workload"], cell["batch_size"], cell["variant"]): cell.get("detail") for cell in document["cells"]
    }
    floors = {(one["workload"], one["batch_size"]): one["seconds"] for one in document["floors"]}
    rows = []
    for case, known in medians(document).items():
        cells = []
        for variant in columns:
            detail = details.get((*case, variant))
            cells.append(microseconds(known.get(variant)) + (f" ({detail})" if detail else ""))
        rows.append([titles[case[0]], str(case[1]), microseconds(floors[case]), *cells])
    return markdown(["workload", "batch size", "floor", *columns], rows)


def ratios(document: Document) -> str:
    """Return how many times the time of our fastest tier each peer takes."""
    columns = [one for one in variants(document) if one not in variants(document, "ours")]
    known, best = medians(document), best_tier(document)
    floors = {(one["workload"], one["batch_size"]): one["seconds"] for one in document["floors"]}
    rows = [
        [
            case[0],
            str(case[1]),
            tier,
            ratio(floors[case], ours),
            *(ratio(known[case].get(one), ours) for one in columns),
        ]
        for case, (tier, ours) in best.items()
    ]
    return markdown(["workload", "batch size", "our tier", "floor", *columns], rows)


def measures(document: Document) -> str:
    """Return each promised ratio beside the measured one, and whether it was kept."""
    known, best = medians(document), best_tier(document)
    rows = []
    for case, promises in PROMISED.items():
        for index, (peer, promise) in enumerate(zip(AGAINST, promises, strict=True)):
            theirs = known.get(case, {}).get(peer)
            if promise is None or theirs is None or case not in best:
                continue
            times_faster = theirs / best[case][1]
            wanted, got = (
                (f"at most {promise:g} x", 1 / times_faster) if index == 2 else (f"{promise:g} x", times_faster)
            )
            kept = got <= promise if index == 2 else got >= promise
            words = f"{got:.3g} x {'its time' if index == 2 else 'faster'}"
            rows.append([*map(str, case), peer, wanted, words, "kept" if kept else "**missed**"])
    return markdown(["workload", "batch size", "against", "promised", "measured", ""], rows)


def spread(document: Document) -> str:
    """Return in words how far the repeats of one cell lie apart."""
    apart = [
        (max(cell["repeats"]) - min(cell["repeats"])) / cell["median"] for cell in document["cells"] if "median" in cell
    ]
    if not apart:
        return ""
    return (
        f"Slowest and fastest repeat of a cell lie {statistics.median(apart):.0%} apart in the median, {max(apart):.0%} at "
        "most: read nothing into smaller differences."
    )


def microseconds(seconds: float | None) -> str:
    """Return a time in microseconds with three significant digits."""
    if seconds is None:
        return "-"
    value = 1e6 * seconds
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def ratio(value: float | None, one: float) -> str:
    """Return a ratio with two or three significant digits."""
    if value is None:
        return "-"
    return f"{value / one:.0f}" if value / one >= 100 else f"{value / one:.2g}"
