"""Print docs/claims-power.md: how often each judge is right in made-up worlds. `make claims-power`, many minutes."""

import sys
from concurrent.futures import ProcessPoolExecutor

from critbatch.claim import WORLDS, Outcome
from critbatch.claims import registry
from critbatch.judging.worlds import share

COUNT = 200
HEAD = f"""# How often the judges are right

Made by `make claims-power`. For each claim, {COUNT} made-up worlds in which it is true, {COUNT} in which it is false,
and {COUNT} in which nothing can be told (no effect that stands out of the noise). The runs of the full-scale protocol
are made up in each world and given to the same judge that reads the real runs. Right: the claim is affirmed where it is
true, denied (REFUTED, or EQUIVALENT where that is the negation) where it is false, INCONCLUSIVE where nothing can be told.
Wrong: the contrary definite verdict in the first two. Wanted: right at least 90 %, wrong at most 5 %.

| claim | true: affirmed | true: denied | false: denied | false: affirmed | silent: inconclusive |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def row(name: str) -> tuple[str, list[float]]:
    """Return a claim's shares: affirmed and denied where true, denied and affirmed where false, open where silent."""
    claim = registry()[name]
    found = {world: share(claim, world, COUNT) for world in WORLDS}
    yes, no = claim.affirmation(), claim.negation()
    return name, [
        sum(found["true"][one] for one in yes), sum(found["true"][one] for one in no),
        sum(found["false"][one] for one in no), sum(found["false"][one] for one in yes),
        found["silent"][Outcome.INCONCLUSIVE],
    ]  # fmt: skip


def main() -> None:
    """Print the page; exit code 1 if a judge misses what is wanted."""
    missed = []
    sys.stdout.write(HEAD + "\n")
    with ProcessPoolExecutor(2) as pool:
        for name, (affirmed, denied, refuted, believed, still) in pool.map(row, registry()):
            if affirmed < 0.9 or refuted < 0.9 or still < 0.9 or denied > 0.05 or believed > 0.05:
                missed.append(name)
            numbers = " | ".join(f"{100 * one:.1f} %" for one in (affirmed, denied, refuted, believed, still))
            sys.stdout.write(f"| {name} | {numbers} |\n")
            sys.stdout.flush()
    sys.stdout.write(f"\nMissed: {', '.join(missed) or 'none'}.\n")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
