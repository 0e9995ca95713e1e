"""The learning rate at another batch size."""

import math

from ..scaling_rules.constant import Constant
from ..scaling_rules.linear import Linear
from ..scaling_rules.saturating import Saturating
from ..scaling_rules.square_root import SquareRoot
from ..scaling_rules.surge import Surge
from .study import Measured
from .translation import Change

RULES = ("linear", "square_root", "surge", "fixed")
NAME = "learning rate"
FAR = 3.0  # times the noise scale: from there a batch is no longer small against it


def rate_change(
    family: str, rate: float, from_batch: int, to_batch: int, *, rule: str | None, noise_scale: float | None,
    measured: Measured | None,
) -> Change:  # fmt: skip
    """Return the change of the learning rate.

    Args:
        family: Of the optimizer; decides the rule where none is named: linear for SGD, square root for others.
        rate: At `from_batch`.
        from_batch: Known batch size.
        to_batch: New batch size.
        rule: A name of `RULES`.
        noise_scale: Of the task, in examples, if it is known.
        measured: The rule that a study found; counts before all others.

    Raises:
        ValueError: If the rule's name is not known, or a rule needs a noise scale and none is given.
    """
    if measured is not None:
        return _measured(measured, rate, from_batch, to_batch)
    chosen = rule or ("linear" if family == "sgd" else "square_root")
    if chosen == "linear":
        return _linear(family, rate, from_batch, to_batch, noise_scale)
    if chosen == "square_root":
        return _square_root(family, rate, from_batch, to_batch, noise_scale)
    if chosen == "surge":
        return _surge(rate, from_batch, to_batch, noise_scale)
    if chosen == "fixed":
        after = Constant().learning_rate(rate, from_batch, to_batch)
        warning = "" if to_batch == from_batch else "left alone, it is right at one of the two batch sizes at most"
        return Change(NAME, rate, after, "unchanged", "asked for", "near the batch size it was tuned at", warning)
    raise ValueError(f"`scale_hyperparameters(rule={chosen!r})`: unknown. There are {', '.join(RULES)}.")


def _measured(found: Measured, rate: float, from_batch: int, to_batch: int) -> Change:
    ratio = to_batch / from_batch
    tried = f"{found.sizes[0]} to {found.sizes[-1]}" if found.sizes else "none"
    source = f"measured on this task: exponent {found.exponent:.2f}, {found.where}"
    between = found.ratio(from_batch, to_batch)
    if between is not None:
        after, width = rate * between[0], math.exp(between[1])
        formula = "best rates of the study, between its batch sizes"
        return Change(NAME, rate, after, formula, source, f"batch sizes {tried}", "", after / width, after * width)
    ends = [rate * ratio**end for end in (found.low, found.high) if end is not None]
    low, high = (min(ends), max(ends)) if len(ends) == 2 else (None, None)
    warning = f"outside the batch sizes that the study resolved ({tried}): extrapolated"
    after = rate * ratio**found.exponent
    return Change(NAME, rate, after, f"rate k^{found.exponent:.2f}", source, f"batch sizes {tried}", warning, low, high)


def _linear(family: str, rate: float, from_batch: int, to_batch: int, noise_scale: float | None) -> Change:
    warnings = (
        [] if family == "sgd" else ["no source supports the linear rule for this optimizer below the noise scale"]
    )
    if noise_scale is None:
        after = Linear().learning_rate(rate, from_batch, to_batch)
        if to_batch > from_batch:
            warnings.append(
                "holds only while the batch is far below the gradient noise scale, which is not given: measure it with "
                "`critbatch noise`"
            )
        return Change(
            NAME, rate, after, "rate k", "Goyal et al. (2017), arXiv:1706.02677, Section 2.1",
            "batch sizes far below the noise scale; keeps the temperature rate/B", "; ".join(warnings),
        )  # fmt: skip
    after = Saturating().learning_rate(rate, from_batch, to_batch, bend=noise_scale)
    if to_batch > FAR * noise_scale:
        warnings.append(
            f"{to_batch} is more than {FAR:g} times the noise scale {noise_scale:g}: the rate has levelled off, and most of "
            "a larger batch is wasted"
        )
    return Change(
        NAME, rate, after, "rate (1 + b/B_from)/(1 + b/B_to), b the noise scale",
        "McCandlish et al. (2018), arXiv:1812.06162, Equation 2.6", "one step of plain SGD", "; ".join(warnings),
    )  # fmt: skip


def _square_root(family: str, rate: float, from_batch: int, to_batch: int, noise_scale: float | None) -> Change:
    source = (
        "Hoffer et al. (2017), arXiv:1705.08741, Section 4" if family == "sgd"
        else "Malladi et al. (2022), arXiv:2205.10287, square root scaling rule"
    )  # fmt: skip
    validity = "noise-dominated steps; keeps the covariance of an update"
    if noise_scale is None:
        after = SquareRoot().learning_rate(rate, from_batch, to_batch)
        warning = ""
        if to_batch > from_batch:
            warning = "holds only below the gradient noise scale, which is not given: measure it with `critbatch noise`"
        if family != "sgd" and max(to_batch / from_batch, from_batch / to_batch) > 4:
            warning = "; ".join(
                filter(
                    None,
                    [warning, "with beta2 scaled too, Marek et al. (2025), arXiv:2507.07101, saw far weaker growth"],
                )
            )
        return Change(NAME, rate, after, "rate sqrt(k)", source, validity, warning)
    below = [min(size, noise_scale) for size in (from_batch, to_batch)]
    after = rate * (below[1] / below[0]) ** 0.5
    warning = (
        "" if to_batch <= noise_scale else f"the batch is above the noise scale {noise_scale:g}: growth ends there"
    )
    return Change(
        NAME, rate, after, "rate sqrt(min(B_to, b)/min(B_from, b)), b the noise scale", source, validity, warning
    )


def _surge(rate: float, from_batch: int, to_batch: int, noise_scale: float | None) -> Change:
    after = Surge().learning_rate(rate, from_batch, to_batch, bend=noise_scale)
    warning = "" if to_batch <= (noise_scale or 0) else "above the peak it falls: seen on some tasks only"
    return Change(
        NAME, rate, after, "rate (sqrt(b/B_from) + sqrt(B_from/b))/(sqrt(b/B_to) + sqrt(B_to/b))",
        "Li et al. (2024), arXiv:2405.14578", "sign-like updates with correlated curvature", warning,
    )  # fmt: skip
