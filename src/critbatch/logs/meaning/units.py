"""Examples and epochs as steps."""

import polars as pl

QUANTITIES = ("steps", "examples", "epochs")


def steps_per_unit(quantity: str, batch_sizes: pl.Series, train_size: int | None) -> tuple[list[float], list[str]]:
    """Return how many steps one unit of a quantity is at each batch size, with a note on the conversion.

    Args:
        quantity: "steps", "examples" or "epochs".
        batch_sizes: Examples per step, one for each row.
        train_size: Examples per epoch; needed for epochs alone.

    Raises:
        ValueError: If epochs are to be converted and `train_size` is missing or below 1.
    """
    if quantity == "steps":
        return [1.0] * len(batch_sizes), []
    if quantity == "examples":
        return [1 / size for size in batch_sizes], ["Examples divided by the batch size are the steps."]
    if train_size is None:
        raise ValueError("Epochs become steps only with the number of training examples. Give it: --train-size N.")
    if train_size < 1:
        raise ValueError(f"--train-size {train_size}: must be at least 1.")
    note = f"Epochs times {train_size:,} training examples (--train-size) divided by the batch size are the steps."
    return [train_size / size for size in batch_sizes], [note]
