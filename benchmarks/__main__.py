"""`python -m benchmarks`: what `make bench` runs."""

import argparse
import sys
from pathlib import Path

from .asking import HERE, OPTIONAL, PEERS

SWEEPS = ("demo", "fashion", "linear", "workers")


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    found = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time critbatch and its peers side by side."
    )
    found.add_argument(
        "what", nargs="?", default="engine", choices=("engine", "draw", *SWEEPS),
        help="engine: time per model update (default). draw: its tables and figure again, from engine.json. demo, fashion: "
        "whole sweeps, ours and the peers'. linear: time and memory of 100 and 1,000 runs. workers: two processes against one.",
    )  # fmt: skip
    found.add_argument("--quick", action="store_true", help="A few cells, short: a check that everything works.")
    found.add_argument("--out", type=Path, help="Folder for the results. Default: benchmarks/results, or its quick/.")
    engine = found.add_argument_group("engine")
    engine.add_argument("--peers", help=f"Of {', '.join(name for name in PEERS if name != 'rates')}. Default: all but "
                        f"{', '.join(OPTIONAL)}.")  # fmt: skip
    engine.add_argument("--workloads", default="", help="Names, separated by commas. Default: all.")
    engine.add_argument("--batch-sizes", default="", help="Only these, separated by commas.")
    engine.add_argument("--repeats", type=int, default=7, help="Timings of each cell; medians are reported.")
    engine.add_argument("--seconds", type=float, default=0.3, help="Of each timing, about.")
    sweeps = found.add_argument_group("demo and fashion")
    sweeps.add_argument("--drivers", default="", help="Peers of whole sweeps, separated by commas. Default: all.")
    sweeps.add_argument(
        "--fraction", type=float, default=1.0, help="Of the runs that peers train; the rest is estimated."
    )
    sweeps.add_argument("--workers", type=int, default=2, help="Processes of one thread each, ours and theirs.")
    return found


def main() -> None:
    """Run what the command line asks for."""
    chosen = parser().parse_args()
    out = chosen.out or (HERE / "results" / "quick" if chosen.quick else HERE / "results")
    try:
        if chosen.what == "draw":
            from .engine import redraw

            redraw(out)
        elif chosen.what == "engine":
            _engine(chosen, out)
        else:
            from . import sweep

            sweep.run(chosen, out)
    except (ValueError, RuntimeError, OSError) as error:
        sys.exit(f"error: {error}")


def _engine(chosen: argparse.Namespace, out: Path) -> None:
    from .engine import Scope, cases, run

    peers = _names(chosen.peers or ",".join(name for name in PEERS if name not in ("rates", *OPTIONAL)))
    known = [name for name in PEERS if name != "rates"]
    if unknown := [name for name in peers if name not in known]:
        raise ValueError(f"`--peers`: {', '.join(unknown)} unknown. Use some of {', '.join(known)}.")
    sizes = [int(size) for size in _names(chosen.batch_sizes)]
    if chosen.quick:
        run(Scope(peers, cases(["mlp_digits"], [1, 32]), repeats=3, seconds=0.1), out)
    else:
        run(Scope(peers, cases(_names(chosen.workloads), sizes), chosen.repeats, chosen.seconds), out)


def _names(text: str) -> list[str]:
    return [name for name in text.replace(" ", "").split(",") if name]


if __name__ == "__main__":
    main()
