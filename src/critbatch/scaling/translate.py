"""All hyperparameters of a training at another batch size."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .families import COUPLED, settings_of
from .rate import NAME, rate_change
from .study import read_study
from .translation import Change, Translation

MALLADI = "Malladi et al. (2022), arXiv:2205.10287"
MAREK = "Marek et al. (2025), arXiv:2507.07101"
WANG = "Wang and Aitchison (2024), arXiv:2405.13698"
BUSBRIDGE = "Busbridge et al. (2023), arXiv:2307.13813"
HOFFER = "Hoffer et al. (2017), arXiv:1705.08741"


def scale_hyperparameters(  # noqa: PLR0913
    optimizer: torch.optim.Optimizer | Mapping[str, Any], *, from_batch: int, to_batch: int, rule: str | None = None,
    noise_scale: float | None = None, study: str | Path | None = None, warmup_steps: float | None = None,
    ema_decay: float | None = None, ghost_size: int | None = None, steps: float | None = None,
    epochs: float | None = None,
) -> Translation:  # fmt: skip
    """Return the hyperparameters at `to_batch` that correspond to those known at `from_batch`.

    Nothing is changed: `.apply(optimizer)` on what is returned does that. Batch sizes are examples in one update, over all
    devices and accumulated micro-batches.

    Args:
        optimizer: A `torch.optim` optimizer (SGD, Adam, AdamW, NAdam, RAdam, RMSprop, Adafactor, or a sign-type one called
            Lion, SignSGD, Signum or Muon), or a mapping: optimizer, learning_rate, momentum, beta1, beta2, epsilon,
            weight_decay.
        from_batch: Batch size that they are known for.
        to_batch: New batch size.
        rule: Of the learning rate: linear, square_root, surge or fixed. None: linear for SGD, square root for others.
        noise_scale: Gradient noise scale of the task, in examples: where growth of the rate ends.
        study: Folder or result.json of `critbatch run` on this task with this optimizer: its measured rule is used.
        warmup_steps: Of the learning rate.
        ema_decay: Of an average of the model's parameters, per step.
        ghost_size: Examples that BatchNorm normalises together, at `from_batch`: per device if it is not synchronised.
        steps: Of the whole training.
        epochs: Of the whole training.

    Raises:
        ValueError: If a batch size is not positive, the optimizer is not known, a number is impossible, or a rule and a
            study are both given.
    """
    for name, size in (("from_batch", from_batch), ("to_batch", to_batch)):
        if size < 1:
            raise ValueError(f"`scale_hyperparameters({name}={size})`: a batch has at least one example.")
    if rule is not None and study is not None:
        raise ValueError(
            f"`scale_hyperparameters(rule={rule!r}, study=...)`: the study has its own rule; give one of the two."
        )
    if noise_scale is not None and not 0 < noise_scale < math.inf:
        raise ValueError(
            f"`scale_hyperparameters(noise_scale={noise_scale})`: must be above 0 and finite, in examples."
        )
    family, known = settings_of(optimizer)
    rate = rate_change(
        family, known["learning_rate"], from_batch, to_batch, rule=rule, noise_scale=noise_scale,
        measured=None if study is None else read_study(study),
    )  # fmt: skip
    ratio = to_batch / from_batch
    changes = [rate, *_averages(family, known, ratio), *_decay(family, known, rate, ratio)]
    changes += _training(ratio, warmup_steps=warmup_steps, ema_decay=ema_decay, steps=steps, epochs=epochs)
    if ghost_size is not None:
        changes.append(_ghost(ghost_size, to_batch))
    lost = _lost(family, from_batch, to_batch, known, steps=steps, ghost_size=ghost_size)
    return Translation(family, from_batch, to_batch, tuple(changes), lost)


def _averages(family: str, known: Mapping[str, float], ratio: float) -> list[Change]:
    """Return what becomes of momentum, beta1, beta2 and epsilon."""
    found = []
    for name in ("momentum", "beta1"):
        if known.get(name):
            value = known[name]
            found.append(Change(
                name, value, value, "unchanged", "methods of Shallue et al. (2018), arXiv:1811.03600: tune it if you can",
                "what counts is rate/(1 - momentum)" if name == "momentum" else "any batch size",
            ))  # fmt: skip
    if "beta2" in known:
        after = known["beta2"] ** ratio
        warning = ""
        if after < 0.5:
            warning = f"the average of squares now forgets half in less than a step ({after:.3g}): rather keep {known['beta2']:g}"
        elif known.get("beta1", 0.0) ** 2 > after:
            warning = f"beta1^2 = {known['beta1'] ** 2:.3g} is above it: Adam is known to need beta1 < sqrt(beta2)"
        found.append(Change(
            "beta2", known["beta2"], after, "beta2^k", f"{MAREK}: the half-life in examples stays",
            "any batch size while the half-life is a step or more", warning,
        ))  # fmt: skip
    if known.get("epsilon") and family in ("adam", "adamw"):
        found.append(Change(
            "epsilon", known["epsilon"], known["epsilon"] / ratio**0.5, "epsilon / sqrt(k)", MALLADI,
            "noise-dominated steps; without effect where epsilon is tiny beside the gradients",
        ))  # fmt: skip
    return found


def _decay(family: str, known: Mapping[str, float], rate: Change, ratio: float) -> list[Change]:
    before = known.get("weight_decay")
    if not before:
        return []
    if family in COUPLED:
        text = "part of the loss, whose minimum does not depend on the batch size"
        return [Change("weight decay", before, before, "unchanged", "L2 penalty", text, "tune it again if you can")]
    after = before * ratio * rate.before / rate.after
    warning = f"rate x weight decay = {rate.after * after:.2g} a step: parameters forget within a few steps" * (
        rate.after * after > 0.1
    )
    return [Change(
        "weight decay", before, after, "decay k (old rate / new rate)", f"{WANG}: the timescale B/(rate x decay x N) stays",
        "decoupled decay, the same data", warning,
    )]  # fmt: skip


def _training(
    ratio: float, *, warmup_steps: float | None, ema_decay: float | None, steps: float | None, epochs: float | None
) -> list[Change]:
    found = []
    if warmup_steps is not None:
        _positive("warmup_steps", warmup_steps, least=0.0)
        after = warmup_steps / ratio
        warning = "less than one step: it falls away" if 0 < after < 1 else ""
        found.append(Change(
            "warm-up steps", warmup_steps, after, "steps / k", "as many examples; Porian et al. (2024), arXiv:2406.19146",
            "any batch size", warning,
        ))  # fmt: skip
    if ema_decay is not None:
        if not 0 <= ema_decay < 1:
            raise ValueError(f"`scale_hyperparameters(ema_decay={ema_decay})`: must be in [0, 1).")
        found.append(Change("EMA decay", ema_decay, ema_decay**ratio, "decay^k", BUSBRIDGE, "any batch size"))
    if steps is not None:
        _positive("steps", steps, least=1.0)
        warning = ""
        if ratio > 1:
            warning = (
                "the same examples in fewer updates: where the batch is above the critical batch size this ends at a worse "
                "loss; schedules have to be told the new number"
            )
        text = "perfect scaling, below the critical batch size"
        found.append(Change("steps", steps, steps / ratio, "steps / k", "as many examples", text, warning))
    if epochs is not None:
        _positive("epochs", epochs, least=0.0)
        found.append(Change("epochs", epochs, epochs, "unchanged", "as many examples", "below the critical batch size"))
    return found


def _positive(name: str, value: float, *, least: float) -> None:
    if not least <= value < math.inf:
        raise ValueError(f"`scale_hyperparameters({name}={value})`: must be at least {least:g} and finite.")


def _ghost(ghost_size: int, to_batch: int) -> Change:
    if ghost_size < 2:
        raise ValueError(
            f"`scale_hyperparameters(ghost_size={ghost_size})`: BatchNorm needs two examples for a variance."
        )
    after = min(ghost_size, to_batch)
    warning = ""
    if after < ghost_size:
        warning = (
            f"the new batch has fewer examples than were normalised together ({ghost_size}): statistics get noisier"
        )
    elif to_batch % ghost_size:
        warning = f"{ghost_size} does not divide {to_batch}: such batches are normalised as a whole"
    text = "fixed, whatever the batch: cb.ghost_batchnorm(model, ghost_size)"
    return Change("ghost size", ghost_size, after, "unchanged", f"{HOFFER}, Algorithm 1", text, warning)


def _lost(
    family: str,
    from_batch: int,
    to_batch: int,
    known: Mapping[str, float],
    *,
    steps: float | None,
    ghost_size: int | None,
) -> tuple[str, ...]:
    """Return what no rule brings over."""
    found = []
    if to_batch < from_batch:
        times = -(-from_batch // to_batch)
        found.append(
            f"nothing need be lost: {times} accumulated micro-batches of {to_batch} are the batch of {from_batch}, with its "
            "hyperparameters as they were (not with BatchNorm or a contrastive loss); it costs the time of as many examples"
        )
    if to_batch > from_batch and steps is None:
        found.append("at equal epochs there are fewer updates; give steps to see how many")
    if ghost_size is None:
        found.append(
            "BatchNorm, if there is one, normalises as many examples as it is shown: give ghost_size to fix them"
        )
    if family == "adafactor":
        found.append(
            "its decay rate of squares is a power of the step: the window in examples changes by k^0.2 at the default -0.8, and "
            "no constant mends that"
        )
    if known.get("momentum"):
        found.append("momentum helps at large batches only; at the new size another value may be better")
    found.append(
        f"these are rules, not measurements: a small grid around the new {NAME} (x 1/2, 1, 2) is worth its price"
    )
    return tuple(found)
