"""What was measured along a training, and what it says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from ..estimate import Estimate, short
from ..noise import (
    adascale_gain,
    cabs_batch_size,
    gradient_diversity,
    lag_one_alignment,
    measurements_needed_after,
    noise_scale,
    noise_scale_along,
    norm_test_batch_size,
)
from ..statistics.blocks import FEWEST_BLOCKS
from ..statistics.means import mean_estimate
from .window import Moments

PRECONDITIONED = "noise scale of the preconditioned gradient tr(P^-2 Sigma)/|P^-1 G|^2, P = sqrt(v) + epsilon of Adam before the step"
COSINE = "mean cosine of an applied update with the next batch's gradient"
SHARPNESS = "batch sharpness g'Hg/|g|^2 of the batch that is trained on, mean over batches"
WIDE = 10.0  # times the lower end: an interval whose upper end is further says next to nothing
WANTED = 0.2  # relative half width of an interval that needs no more steps


@final
@dataclass(frozen=True, eq=False)
class Measured:
    """One measured step.

    Args:
        step: Optimizer steps made before it.
        moments: Of the gradient.
        weighted: Of the preconditioned gradient, where there is one.
        learning_rate: Of the first parameter group.
        loss: If it was observed.
    """

    step: int
    moments: Moments
    weighted: Moments | None
    learning_rate: float
    loss: float | None


@final
@dataclass
class History:
    """All measured steps of one training."""

    measured: list[Measured] = field(default_factory=list)
    products: list[tuple[float, float]] = field(default_factory=list)  # g_t . g_t+1 and |G|^2
    cosines: list[float] = field(default_factory=list)  # of the applied update and the next gradient
    sharpness: list[float] = field(default_factory=list)


@final
@dataclass(frozen=True)
class Reading:
    """What a stretch of training says; numbers are `Estimate`s, with the reason where there is none.

    Args:
        step: Optimizer steps made.
        measured: Steps measured in the stretch.
        batch_size: Mean, in `unit`.
        unit: What is counted: examples or tokens.
        trace: tr(Sigma).
        squared_norm: |G|^2.
        noise_scale: tr(Sigma)/|G|^2 in `unit`.
        more: How many measured steps in all give it a relative half width of 20 %.
        preconditioned: The same of Adam's preconditioned gradient.
        layers: The noise scale of each layer.
        groups: The noise scale of each parameter group.
        norm_layers: The noise scale of the normalising layers alone, and the whole one over it in this training.
        alignment: Lag-one alignment (plain SGD), or the mean cosine of update and next gradient.
        sharpness: Batch sharpness, if it was measured, and the learning rate's threshold 2/rate.
        views: Norm test, gradient diversity, AdaScale gain of twice the batch, CABS.
        sentence: In plain words.
        messages: What the monitor had to say, each once.
    """

    step: int
    measured: int
    batch_size: float
    unit: str
    trace: Estimate
    squared_norm: Estimate
    noise_scale: Estimate
    more: Estimate
    preconditioned: Estimate
    layers: Mapping[str, Estimate]
    groups: Mapping[str, Estimate]
    norm_layers: tuple[Estimate, Estimate]
    alignment: Estimate
    sharpness: tuple[Estimate, float]
    views: Mapping[str, Estimate]
    sentence: str
    messages: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return the reading as a dictionary of JSON types."""
        return {
            "schema_version": 1, "step": self.step, "measured": self.measured, "batch_size": self.batch_size,
            "unit": self.unit, "trace": self.trace.to_json(), "squared_norm": self.squared_norm.to_json(),
            "noise_scale": self.noise_scale.to_json(), "measurements_needed": self.more.to_json(),
            "preconditioned": self.preconditioned.to_json(),
            "layers": {name: one.to_json() for name, one in self.layers.items()},
            "groups": {name: one.to_json() for name, one in self.groups.items()},
            "norm_layers": {"noise_scale": self.norm_layers[0].to_json(), "whole_over_it": self.norm_layers[1].to_json()},
            "alignment": self.alignment.to_json(),
            "sharpness": {"value": self.sharpness[0].to_json(), "threshold": self.sharpness[1]},
            "views": {name: one.to_json() for name, one in self.views.items()},
            "sentence": self.sentence, "messages": list(self.messages),
        }  # fmt: skip


@final
@dataclass(frozen=True)
class Parts:
    """Which parameters, by their place in the moments, make which layer, parameter group, or normalising layer."""

    layers: Mapping[str, Sequence[int]]
    groups: Mapping[str, Sequence[int]]
    norms: Sequence[int]


def ratio(moments: Sequence[Moments], places: Sequence[int] | None, *, unit: str, level: float) -> Estimate:
    """Return the noise scale of some parameters over a stretch, None for all.

    With few measured steps they are taken as independent; from twice the fewest blocks on, neighbours may resemble
    each other (`critbatch.noise.noise_scale_along`).
    """
    chosen: Any = slice(None) if places is None else list(places)
    traces = np.array([one.traces[chosen].sum() for one in moments])
    norms = np.array([one.squared_norms[chosen].sum() for one in moments])
    along = len(moments) >= 2 * FEWEST_BLOCKS
    found = noise_scale_along(traces, norms, level=level) if along else noise_scale(traces, norms, level=level)
    return found.scaled(1.0, unit=unit, definition=found.definition)


def read(  # noqa: PLR0913  what a training is
    history: History, parts: Parts, *, step: int, unit: str, level: float, last: int, is_plain_sgd: bool,
    messages: Sequence[str], population: int | None,
) -> Reading:  # fmt: skip
    """Return what the last measured steps say."""
    some = history.measured[-last:]
    moments = [one.moments for one in some]
    traces, norms = (
        np.array([getattr(one, name).sum() for one in moments]) for name in ("traces", "squared_norms")
    )  # fmt: skip
    batch = float(np.mean([one.examples for one in moments])) if moments else 0.0
    whole = ratio(moments, None, unit=unit, level=level)
    weighted = [one.weighted for one in some if one.weighted is not None]
    few = f"{len(some)} measured steps: an interval needs at least 2"
    square = "(loss per unit of parameter) squared"

    def mean(values: Sequence[float] | np.ndarray, definition: str, numbers_in: str) -> Estimate:
        if len(values) < 2:
            return Estimate.missing(few, unit=numbers_in, definition=definition, level=level, count=len(values))
        return mean_estimate(np.asarray(values, dtype=float), unit=numbers_in, definition=definition, level=level)

    preconditioned = (
        ratio(weighted, None, unit=unit, level=level).scaled(1.0, unit=unit, definition=PRECONDITIONED)
        if weighted
        else Estimate.missing(
            "the optimizer keeps no running squares", unit=unit, definition=PRECONDITIONED, level=level
        )
    )
    rate = some[-1].learning_rate if some else 0.0
    alignment = _alignment(history, last, is_plain_sgd=is_plain_sgd, level=level, mean=mean)
    sharpness = mean(history.sharpness[-last:], SHARPNESS, "loss per unit of parameter squared")
    return Reading(
        step=step, measured=len(some), batch_size=batch, unit=unit,
        trace=mean(traces, "tr(Sigma), mean over the stretch", square),
        squared_norm=mean(norms, "|G|^2, mean over the stretch", square),
        noise_scale=whole,
        more=_more(traces, norms, few, level),
        preconditioned=preconditioned,
        layers={name: ratio(moments, places, unit=unit, level=level) for name, places in parts.layers.items()},
        groups={name: ratio(moments, places, unit=unit, level=level) for name, places in parts.groups.items()},
        norm_layers=_norm_layers(moments, parts.norms, whole, unit=unit, level=level),
        alignment=alignment,
        sharpness=(sharpness, 2 / rate if rate else 0.0),
        views=_views(whole, traces, batch, some, population=population, level=level),
        sentence=_sentence(whole, batch, unit, alignment, is_plain_sgd=is_plain_sgd),
        messages=tuple(messages),
    )  # fmt: skip


def _more(traces: np.ndarray, norms: np.ndarray, few: str, level: float) -> Estimate:
    if len(traces) < 2:
        return Estimate.missing(few, unit="measurements", definition="measurements needed", level=level)
    return measurements_needed_after(traces, norms, relative_error=WANTED, level=level)


def _alignment(
    history: History, last: int, *, is_plain_sgd: bool, level: float, mean: Callable[..., Estimate]
) -> Estimate:  # fmt: skip
    if not is_plain_sgd:
        return mean(history.cosines[-last:], COSINE, "1")
    pairs = np.array(history.products[-last:]).reshape(-1, 2)
    return lag_one_alignment(pairs[:, 0], pairs[:, 1], level=level)


def _norm_layers(
    moments: Sequence[Moments], places: Sequence[int], whole: Estimate, *, unit: str, level: float
) -> tuple[Estimate, Estimate]:  # fmt: skip
    """Return the noise scale of the normalising layers, and by how much to multiply it here to get the whole one.

    Source: Gray et al. (2024), arXiv:2411.00999: in transformers the two go together; their ratio is the model's own.
    """
    definition = "noise scale of all parameters over that of the normalising layers, in this stretch"
    if not places:
        none = "the model has no normalising layer with parameters"
        missing = Estimate.missing(none, unit=unit, definition=whole.definition, level=level)
        return missing, Estimate.missing(none, unit="1", definition=definition, level=level)
    own = ratio(moments, places, unit=unit, level=level)
    if own.value is None or whole.value is None or not own.value > 0:
        why = f"a noise scale is undetermined: {own.reason or whole.reason or 'no noise in the normalising layers'}"
        return own, Estimate.missing(why, unit="1", definition=definition, level=level, count=own.count)
    value = whole.value / own.value
    return own, Estimate(
        value, None, None, level, own.count, "1", "ratio of two ratios of means, no interval", definition
    )


def _views(
    whole: Estimate, traces: np.ndarray, batch: float, some: Sequence[Measured], *, population: int | None, level: float
) -> dict[str, Estimate]:  # fmt: skip
    found = {
        "norm_test_batch_size": norm_test_batch_size(whole, tolerance=1.0, population=population),
        "gradient_diversity": gradient_diversity(whole),
        "adascale_gain_of_twice_the_batch": adascale_gain(whole, batch_size=batch or 1.0, count=2),
    }
    losses = [one.loss for one in some if one.loss is not None]
    if losses and len(traces) >= 2:
        rate = some[-1].learning_rate
        found["cabs_batch_size"] = cabs_batch_size(traces, learning_rate=rate, loss=float(np.mean(losses)), level=level)
    return found


def _sentence(whole: Estimate, batch: float, unit: str, alignment: Estimate, *, is_plain_sgd: bool) -> str:
    """Return one line: whether the batch is small or large against the noise scale, and the rate cold or hot."""
    if not batch:
        return "Nothing has been measured yet."
    size = f"Batches of {short(batch)} {unit}"
    scale = f"the noise scale, {whole.brief()} {unit}"
    if whole.low is not None and batch < whole.low:
        text = f"{size} are below {scale}: a larger batch still saves nearly as many steps as it costs examples."
    elif whole.high is not None and batch > whole.high:
        text = f"{size} are above {scale}: a smaller batch would take hardly more steps, and fewer examples."
    elif whole.value is None:
        text = f"{size}; the noise scale is undetermined: {whole.reason}."
    elif whole.low is None or whole.high is None or whole.high > WIDE * whole.low:
        text = f"{size} cannot yet be told from {scale}: more measured steps are needed."
    else:
        text = f"{size} are about {scale}."
    return f"{text} {_rate(alignment, is_plain_sgd=is_plain_sgd)}".strip()


def _rate(alignment: Estimate, *, is_plain_sgd: bool) -> str:
    if alignment.low is None or alignment.high is None:
        return ""
    what = "the best one for a single step" if is_plain_sgd else "where updates begin to overshoot"
    if alignment.low > 0:
        return f"The learning rate is below {what} (alignment {alignment.brief()})."
    if alignment.high < 0:
        return f"The learning rate is above {what} (alignment {alignment.brief()}), which healthy training often is."
    if alignment.high - alignment.low > 1:
        return f"Where the learning rate is cannot be told yet (alignment {alignment.brief()})."
    return f"The learning rate is about {what} (alignment {alignment.brief()})."
