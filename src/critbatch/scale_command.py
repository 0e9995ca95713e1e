"""`critbatch scale`: hyperparameters at another batch size."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from .terminal import Json, orderly, print_json

Size = Annotated[str, typer.Option(help="Examples in one update: 256, or devices x examples each: 8x32, 8x32x4.")]
Number = Annotated[float | None, typer.Option()]


def scale(  # noqa: PLR0913, PLR0917
    from_batch: Size, to_batch: Size,
    optimizer: Annotated[str, typer.Option(help="sgd, adam, adamw, adafactor, lion, signsgd, muon, ...")] = "sgd",
    learning_rate: Annotated[float, typer.Option(help="At the old batch size.")] = 0.1,
    rule: Annotated[str, typer.Option(help="linear, square_root, surge or fixed. Default: by the optimizer.")] = "",
    noise_scale: Annotated[float | None, typer.Option(help="Of the task, in examples: `critbatch noise`.")] = None,
    study: Annotated[Path | None, typer.Option(help="Folder of `critbatch run` on this task: its measured rule.")] = None,
    momentum: Number = None, beta1: Number = None, beta2: Number = None, epsilon: Number = None,
    weight_decay: Number = None,
    warmup_steps: Number = None,
    ema_decay: Annotated[float | None, typer.Option(help="Of an average of the parameters, per step.")] = None,
    ghost_size: Annotated[int | None, typer.Option(help="Examples that BatchNorm sees together (per device).")] = None,
    steps: Annotated[float | None, typer.Option(help="Of the whole training.")] = None,
    epochs: Number = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Translate learning rate, betas, weight decay, warm-up and more to another batch size, with sources and warnings."""
    with orderly():
        from .scaling import scale_hyperparameters

        known = {
            "momentum": momentum, "beta1": beta1, "beta2": beta2, "epsilon": epsilon, "weight_decay": weight_decay,
        }  # fmt: skip
        config: dict[str, Any] = {"optimizer": optimizer, "learning_rate": learning_rate}
        config |= {key: value for key, value in known.items() if value is not None}
        old, new = _size(from_batch, "--from-batch"), _size(to_batch, "--to-batch")
        sizes = from_batch.lower().split("x")
        found = scale_hyperparameters(
            config, from_batch=old, to_batch=new, rule=rule or None, noise_scale=noise_scale, study=study,
            warmup_steps=warmup_steps, ema_decay=ema_decay, steps=steps, epochs=epochs,
            ghost_size=int(sizes[1]) if ghost_size is None and len(sizes) > 1 and int(sizes[1]) > 1 else ghost_size,
        )  # fmt: skip
        if as_json:
            print_json(found.to_json())
        else:
            typer.echo(str(found))


def _size(text: str, option: str) -> int:
    """Return the examples in an update, from 256 or 8x32.

    Raises:
        ValueError: If it is neither.
    """
    try:
        sizes = [int(one) for one in text.lower().split("x")]
    except ValueError:
        sizes = [0]
    if min(sizes) < 1:
        raise ValueError(f"`{option} {text}`: give examples, 256, or devices times examples each, 8x32.")
    return math.prod(sizes)
