"""How the answer to "which batch size is best" depends on what is held equal, in words."""

import itertools

from ..estimate import short
from ..finding import Reading, Winner

NAMES = {
    "epochs": "equal epochs",
    "updates": "equal updates",
    "examples": "equal examples",
    "seconds": "equal seconds",
    "convergence": "each run trained until it converged",
}


def flips(budgets: dict[str, tuple[Reading, ...]], targets: dict[str, Winner]) -> tuple[str, ...]:
    """Return a sentence for each pair of winners that exclude each other, then one for each budget's winner.

    Equal examples is the same as equal epochs on a finite training set, and is not repeated here.

    Args:
        budgets: Readings by budget, the largest amount last.
        targets: Winners by "steps", "examples" and "seconds" to target.
    """
    named: dict[str, Winner] = {}
    for budget, found in budgets.items():
        if budget == "examples" or not found:
            continue
        last = found[-1]
        amount = "" if last.amount is None else f" ({short(last.amount)} {last.unit})"
        named[f"at {NAMES[budget]}{amount}" if budget != "convergence" else f"with {NAMES[budget]}"] = last.winner
    named |= {f"by {unit} to target": one for unit, one in targets.items()}
    known = {name: one for name, one in named.items() if one.batch_size is not None}
    sentences = [f"{name[0].upper()}{name[1:]}: {one.words}." for name, one in known.items()]
    return tuple(_contradictions(known) + sentences)


def _contradictions(known: dict[str, Winner]) -> list[str]:
    found: dict[tuple[int | None, ...], str] = {}
    for (first, one), (second, other) in itertools.combinations(known.items(), 2):
        sizes = (one.batch_size, other.batch_size)
        both_there = sizes[1] in one.compared and sizes[0] in other.compared
        apart = sizes[0] != sizes[1] and sizes[1] not in one.tied and sizes[0] not in other.tied
        if both_there and apart and sizes not in found and sizes[::-1] not in found:
            found[sizes] = (
                f"The winner flips: batch size {sizes[0]} {first}, {sizes[1]} {second}; each excludes the other."
            )
    return list(found.values())
