"""`critbatch measure`: measurements of a task's model, new or with stored weights."""

import math
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .terminal import NO_ANSWER, OK, Json, orderly, print_json

if TYPE_CHECKING:
    from torch import nn

    from .task import Task


def measure(
    task: Annotated[str, typer.Argument(metavar="TASK", help="As of `critbatch run`.")],
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="From `critbatch measurements`.")],
    weights: Annotated[
        Path | None, typer.Option(help="State of the model, as `torch.save(model.state_dict(), ...)` writes it.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Of the training, where it matters.")] = 32,
    learning_rate: Annotated[float, typer.Option(help="Of the training, where it matters.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the new model, and of what is drawn.")] = 0,
    as_json: Json = False,
) -> None:  # fmt: skip
    """Take measurements of TASK's model on its training set: of a new one, or with weights from a file."""
    with orderly():
        from . import catalog
        from .measuring import measure_task

        chosen = catalog.load_task(task)
        kinds = {name: catalog.load("measurements", name) for name in names}
        model = chosen.initialise(seed) if weights is None else _with_weights(chosen, weights)
        found: list[dict[str, Any]] = []
        for name, kind in kinds.items():
            taken = kind()
            values = measure_task(
                taken, chosen, model=model, batch_size=batch_size, learning_rate=learning_rate, seed=seed
            )
            found += [
                {"measurement": name, "quantity": key, "value": value if math.isfinite(value) else None, "unit": taken.quantities[key]}
                for key, value in values.items()
            ]  # fmt: skip
        if as_json:
            print_json({"task": chosen.name, "measured": found})
        else:
            width = max(len(one["quantity"]) for one in found)
            for one in found:
                value = "-" if one["value"] is None else f"{one['value']:.6g}"
                typer.echo(f"{one['quantity']:{width}}  {value:>12}  {one['unit']}".rstrip())
        raise typer.Exit(OK if any(one["value"] is not None for one in found) else NO_ANSWER)


def _with_weights(task: "Task", path: Path) -> "nn.Module":
    """Return the task's model with stored parameters.

    Raises:
        ValueError: If the file holds no state, or not this model's.
    """
    import torch

    model = task.initialise(0)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state)
    except FileNotFoundError:
        raise ValueError(f"`--weights {path}`: there is no such file.") from None
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"`--weights {path}`: it is no file of tensors, or it holds code, which is not run."
        ) from error
    except (RuntimeError, TypeError, EOFError) as error:
        raise ValueError(
            f"`--weights {path}`: not the state of this model ({str(error).splitlines()[0]}). Give a file that "
            f"torch.save(model.state_dict(), path) wrote for task {task.name!r}."
        ) from error
    return model
