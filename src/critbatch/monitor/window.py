"""From the norms of one optimizer step to the two moments of the per-example gradient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np
from jaxtyping import Float

Reduction = Literal["mean", "mean_over_steps", "share", "sum"]
REDUCTIONS: Mapping[Reduction, str] = {
    "mean": "each backward is of the mean over its own examples",
    "mean_over_steps": "as mean, divided by the number of backwards in the step",
    "share": "each backward is of the sum over its own examples, divided by the number of examples of the whole step",
    "sum": "each backward is of the sum over its own examples",
}
HEAD = 5  # numbers of a row before those of the parameters


@final
@dataclass
class Backward:
    """What one backward pass of one process adds.

    Args:
        size: Examples (or tokens) b behind it.
        units: Independent parts whose norms were taken: 1 for the pass as a whole, its number of examples for each.
        squares: Per parameter: sum over the parts of |share|^2 / size of the part.
        weighted: The same with each coordinate's square weighted, for parameters where it is known.
    """

    size: float
    units: float
    squares: dict[str, float] = field(default_factory=dict)
    weighted: dict[str, float] = field(default_factory=dict)


@final
@dataclass(frozen=True, eq=False)
class Moments:
    """Unbiased moments of one measured step, per parameter, in the order of the monitor's names.

    Args:
        examples: In the whole step, over all processes.
        units: Independent parts.
        traces: tr(Sigma), (loss per unit of parameter) squared.
        squared_norms: |G|^2, the same unit; may be negative.
        gradients: |batch gradient|^2, as the optimizer will see it before clipping and weight decay.
    """

    examples: float
    units: float
    traces: Float[np.ndarray, " parameter"]
    squared_norms: Float[np.ndarray, " parameter"]
    gradients: Float[np.ndarray, " parameter"]


def row(
    backwards: Sequence[Backward], names: Sequence[str], gradients: Mapping[str, float], *, reduction: Reduction,
    weighted: bool = False, whole: int = 1,
) -> Float[np.ndarray, " number"]:  # fmt: skip
    """Return what one process knows of a step, to be added up over processes by `moments`.

    Args:
        backwards: In the step.
        names: Of the parameters; the order of the row.
        gradients: |accumulated gradient|^2 by name; over all processes they must add up to the norm of the whole.
        reduction: What the loss of each backward was.
        weighted: Use the weighted squares.
        whole: Processes of which each backward here is only a part (sharded increments), else 1.
    """
    own = reduction in ("mean", "mean_over_steps")
    sums = np.zeros(len(names))
    for one in backwards:
        factor = one.size**2 if own else 1.0
        found = one.weighted if weighted else one.squares
        sums += factor * np.array([found.get(name, 0.0) for name in names])
    sizes = [one.size for one in backwards]
    units = sum(one.units for one in backwards) / whole
    head = [1.0, sum(sizes), units, len(backwards), sum(1 / size for size in sizes)]
    return np.concatenate([head, sums, [gradients.get(name, 0.0) for name in names]])


def moments(
    rows: Float[np.ndarray, "process number"], *, reduction: Reduction, population: int | None = None
) -> Moments | None:  # fmt: skip
    """Return the moments of a step from one `row` of each process; None if the step has fewer than two parts.

    With x_i the mean gradient of part i of size s_i, B their total, and u = sum w_i x_i the accumulated gradient, the
    two expectations E sum s_i |x_i|^2 / B = |G|^2 + tr(Sigma) n/B and E|u|^2 = |G|^2 + tr(Sigma) sum w_i^2/s_i are
    solved for the two moments. For w_i = s_i/B it is the analysis of variance of `critbatch.noise.noise_moments`; it
    stays unbiased where the accumulated gradient is a mean of means over unequal parts.

    Source: McCandlish et al. (2018), arXiv:1812.06162, Appendix A.1, for two sizes; the weighted form is derived.

    Args:
        rows: One for each process.
        reduction: What the loss of each backward was.
        population: Size of the training set, if its |G|^2 is wanted rather than that of the distribution behind it.
    """
    processes = len(rows)
    heads = rows[:, 1:HEAD].tolist()  # plain numbers: arrays of one or a few elements cost more than they save
    total, count = sum(head[0] for head in heads), sum(head[1] for head in heads)
    if count < 2:
        return None
    parameters = (rows.shape[1] - HEAD) // 2
    sums, squares = rows[:, HEAD : HEAD + parameters], rows[:, HEAD + parameters :].sum(0)
    if reduction in ("mean", "mean_over_steps"):
        spread = sum(inverses / passes**2 for *_, passes, inverses in heads) / processes**2  # of sum w^2/s
        factors = [passes**2 if reduction == "mean_over_steps" else 1.0 for *_, passes, _ in heads]
        mean = sum(passes for *_, passes, _ in heads) / processes
        accumulated = squares / (mean**2 if reduction == "mean" else 1.0)
    else:
        spread = 1 / total
        factors = [(total / processes) ** 2 if reduction == "share" else 1.0] * processes
        accumulated = squares * ((processes / total) ** 2 if reduction == "sum" else 1.0)
    within = np.array(factors) @ sums / total
    traces = (within - accumulated) / (count / total - spread)
    seen = spread - (1 / population if population else 0.0)
    return Moments(float(total), float(count), traces, accumulated - traces * seen, accumulated)


def check_options(*, every: int, unit: str, most: int | None, reduction: str, level: float) -> None:
    """Do nothing if a monitor's options are in range.

    Raises:
        ValueError: If one is not.
    """
    if every < 1:
        raise ValueError(
            f"`GradientNoiseMonitor(every={every})`: must be 1 or more. Give 10 to measure every tenth step."
        )
    if unit not in ("auto", "example", "micro_batch"):
        raise ValueError(f"`GradientNoiseMonitor(unit={unit!r})`: must be 'auto', 'example' or 'micro_batch'.")
    if most is not None and most < 2:
        raise ValueError(
            f"`GradientNoiseMonitor(most={most})`: must be 2 or more, or None for the norms of all examples."
        )
    if reduction not in REDUCTIONS:
        raise ValueError(f"`GradientNoiseMonitor(reduction={reduction!r})`: must be one of {', '.join(REDUCTIONS)}.")
    if not 0 < level < 1:
        raise ValueError(f"`GradientNoiseMonitor(level={level})`: must be between 0 and 1, such as 0.95.")
