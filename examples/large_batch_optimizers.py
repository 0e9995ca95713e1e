"""Does a large-batch optimizer help at this batch size? Every rule gets the same search and the same work.

pip install 'critbatch[large-batch]'
python examples/large_batch_optimizers.py
"""

import statistics
from typing import NamedTuple

import polars as pl

from critbatch.budgets.examples import Examples
from critbatch.engine import population
from critbatch.optimizer import Optimizer
from critbatch.optimizers.lamb import LAMB
from critbatch.optimizers.lars import LARS
from critbatch.optimizers.proximal import Proximal
from critbatch.optimizers.sgd import SGD
from critbatch.plan import RunResult, sweep
from critbatch.sampling import Sampling
from critbatch.samplings.repeated import Repeated
from critbatch.samplings.reshuffle import Reshuffle
from critbatch.schedules.constant import Constant
from critbatch.tasks.digits import task as digits

BATCH_SIZE, SMALL_BATCH_SIZE = 512, 64
WORK = Examples(60 * 512)  # of every run, at every batch size: 60 steps of the large one
RATES = 6  # for every rule, each twice the one before
SEARCHED, FRESH = range(2), range(2, 7)


class Row(NamedTuple):
    """A rule as it is tried: its lowest learning rate was set so that the best of the search lies inside."""

    name: str
    optimizer: Optimizer
    lowest: float
    batch_size: int = BATCH_SIZE
    sampling: Sampling = Reshuffle()


ROWS = (
    Row("sgd", SGD(), 1.0),
    Row("sgd, momentum 0.9", SGD(momentum=0.9), 2**-5),
    Row("lars, momentum 0.9", LARS(), 2**-4),
    Row("lamb", LAMB(), 2**-8),
    Row("emso, 3 inner steps", Proximal(), 2**-2, sampling=Repeated(3)),
    Row("sgd, batch size 64", SGD(), 1.0, SMALL_BATCH_SIZE),
)


def trained(row: Row, rates: list[float], seeds: range) -> list[RunResult]:
    task = digits()
    plan = sweep(
        task, batch_sizes=[row.batch_size], learning_rates=rates, seeds=seeds, optimizer=row.optimizer,
        schedule=Constant(), sampling=row.sampling, budget=WORK,
    )  # fmt: skip
    return population.train({task.name: task}, plan.runs, engine="population")


def seen(result: RunResult, quantity: str) -> pl.DataFrame:
    return result.records.filter(pl.col("quantity") == quantity).sort("step")


def last(result: RunResult, quantity: str) -> float:
    return seen(result, quantity)["value"][-1]


def arrived(result: RunResult) -> float:
    """Return the examples of work at the first look with validation accuracy 0.95; infinity if there is none."""
    there = seen(result, "validation_accuracy").filter(pl.col("value") >= 0.95)
    return there["examples"][0] if len(there) else float("inf")


def main() -> None:
    print(
        f"{len(ROWS)} rules, {RATES} learning rates each on {len(SEARCHED)} seeds; the best again on {len(FRESH)} fresh ones"
    )
    for row in ROWS:
        rates = [row.lowest * 2**power for power in range(RATES)]
        search = trained(row, rates, SEARCHED)
        mean = {
            rate: statistics.mean(last(one, "validation_accuracy") for one in search if one.run.learning_rate == rate)
            for rate in rates
        }
        best = max(rates, key=mean.__getitem__)
        edge = ", at the edge of the search" if best in (rates[0], rates[-1]) else ""
        fresh = trained(row, [best], FRESH)
        test = [last(one, "test_accuracy") for one in fresh]
        work = [arrived(one) for one in fresh]
        reached = sum(one < float("inf") for one in work)
        print(
            f"{row.name}: test accuracy {statistics.mean(test):.4f} ({min(test):.3f} to {max(test):.3f}), "
            f"{reached} of {len(fresh)} reached the target, median work {statistics.median(work):.0f} examples; "
            f"learning rate {best:g}{edge}; {len(search)} + {len(fresh)} runs"
        )


if __name__ == "__main__":
    main()
