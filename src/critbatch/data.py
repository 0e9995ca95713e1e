"""Training and test data: from whatever the user has to tensors that can be cut into batches of any size."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, default_collate

from .randomness import generator

COLLATE_CHUNK = 1024


@final
@dataclass(frozen=True, eq=False)
class Examples:
    """A finite set: `inputs` and `targets` share their first axis, the example."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def epoch(self, seed: int, index: int) -> "Examples":
        """Return the examples of epoch `index`: always the same set."""
        return self

    def pieces(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield inputs and targets of at most `size` examples at a time, in order."""
        if size >= len(self):
            yield self.inputs, self.targets
        else:
            yield from zip(self.inputs.split(size), self.targets.split(size), strict=True)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Examples":
        """Return the set on `device`, floating inputs and targets as `dtype`; itself where nothing changes."""
        inputs, targets = (
            part.to(device, dtype if part.is_floating_point() else None) for part in (self.inputs, self.targets)
        )
        return Examples(inputs, targets)


@final
@dataclass(frozen=True, eq=False)
class Stream:
    """Fresh examples for ever: each epoch of `size` examples is drawn anew, the same for all runs of one seed.

    Args:
        draw: Takes a generator and a count; returns inputs and targets of that many independent examples.
        size: Examples that count as one epoch.
    """

    draw: Callable[[torch.Generator, int], tuple[Tensor, Tensor]]
    size: int

    def __len__(self) -> int:
        return self.size

    def epoch(self, seed: int, index: int) -> Examples:
        """Return the examples of epoch `index` for runs of `seed`.

        Raises:
            ValueError: If the draw has another length or holds NaN.
        """
        drawn = examples(self.draw(generator(seed, "data", index), self.size), "train")
        if len(drawn) != self.size:
            raise ValueError(
                f"`Stream(size={self.size})`: the draw returned {len(drawn)} examples. Return as many as asked."
            )
        return drawn


def examples(source: Any, split: str) -> Examples:
    """Return `source` as tensors, or say what is wrong with it.

    Takes a pair (inputs, targets) of tensors or arrays, a `torch.utils.data.Dataset` of such pairs, a `DataLoader` (its
    dataset and collate function are used; its batch size and sampler are not, since the batch size is what we vary), or
    a Hugging Face dataset with two columns (recognised by `with_format`; targets are the column called label, labels,
    target, targets or y, else the last). Integer targets become int64. Arrays of float64, numpy's default, become
    float32; tensors keep their type. Memory is shared with the source where possible: do not change it afterwards.

    Args:
        source: The data.
        split: "train", "test" or "validation", for the error message.

    Raises:
        ValueError: If the set is empty, lengths differ, or a number is NaN or infinite.
        TypeError: If it is none of the above.
    """
    match source:
        case Examples():
            found = source
        case (inputs, targets):
            found = Examples(_tensor(inputs, f"{split} inputs"), _tensor(targets, f"{split} targets"))
        case DataLoader():
            if source.batch_sampler is None:
                raise TypeError(
                    f"`Task({split}=...)`: a DataLoader with batch_size=None does not collate examples itself. "
                    "Give it a batch size (any: it is not used), or give its dataset."
                )
            found = _collate(source.dataset, source.collate_fn, split)
        case _ if callable(getattr(source, "with_format", None)):
            found = _columns(source, split)
        case Dataset():
            found = _collate(source, default_collate, split)
        case _:
            raise TypeError(
                f"`Task({split}=...)`: cannot read a {type(source).__name__}. Give a pair (inputs, targets) of tensors "
                "or arrays, a torch Dataset, a DataLoader, or a Hugging Face dataset with two columns."
            )
    inputs, targets = found.inputs.detach(), found.targets.detach()
    _check(Examples(inputs, targets), split)
    is_whole = not targets.is_floating_point() and targets.dtype != torch.bool
    return Examples(inputs, targets.long() if is_whole else targets)


def _tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name}: {error} Give every example the same shape.") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: an array of {array.dtype} cannot become a tensor. Encode it as numbers first.")
    kind = array.dtype.newbyteorder("=")
    if kind.kind == "f" and kind.itemsize > np.dtype(np.float32).itemsize:
        kind = np.dtype(np.float32)
    if kind.kind == "u" and kind.itemsize > 1:
        kind = np.dtype(np.int64)
    array = np.ascontiguousarray(array, dtype=kind)
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _collate(dataset: Any, collate: Callable[[list[Any]], Any], split: str) -> Examples:
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"`Task({split}=...)`: an IterableDataset cannot be visited in an order of our own. "
            "Give a map-style Dataset (with __len__ and __getitem__)."
        )
    count = len(dataset)
    if not count:
        raise ValueError(f"`Task({split}=...)`: the dataset is empty. Give at least one example.")
    parts: list[tuple[Tensor, Tensor]] = []
    for start in range(0, count, COLLATE_CHUNK):
        items = [dataset[index] for index in range(start, min(start + COLLATE_CHUNK, count))]
        try:
            batch = collate(items)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(
                f"`Task({split}=...)`: examples {start} to {start + len(items) - 1} cannot be collated: {error}. "
                "Give every example the same shape, or use a DataLoader with a collate_fn that pads."
            ) from error
        if not (isinstance(batch, (tuple, list)) and len(batch) == 2):
            raise TypeError(
                f"`Task({split}=...)`: the collate function returned {type(batch).__name__}, not (inputs, targets). "
                "Give a dataset whose items are pairs, or a collate function that makes pairs."
            )
        parts.append((_tensor(batch[0], f"{split} inputs"), _tensor(batch[1], f"{split} targets")))
    for part in zip(*parts, strict=True):
        if len(shapes := {tuple(tensor.shape[1:]) for tensor in part}) > 1:
            raise ValueError(
                f"`Task({split}=...)`: after collating, examples have different shapes {sorted(shapes)}. "
                "Pad them to one shape."
            )
    return Examples(torch.cat([inputs for inputs, _ in parts]), torch.cat([targets for _, targets in parts]))


def _columns(dataset: Any, split: str) -> Examples:
    names = list(dataset.column_names)
    if len(names) != 2:
        raise ValueError(
            f"`Task({split}=...)`: the dataset has columns {names}; two are needed, inputs and targets. "
            "Use `dataset.select_columns([inputs, targets])`."
        )
    known = [name for name in names if name in ("label", "labels", "target", "targets", "y")]
    target = known[0] if known else names[-1]
    inputs = next(name for name in names if name != target)
    table = dataset.with_format("numpy")[:]
    return Examples(_tensor(table[inputs], f"{split} {inputs!r}"), _tensor(table[target], f"{split} {target!r}"))


def _check(found: Examples, split: str) -> None:
    if found.inputs.ndim == 0 or found.targets.ndim == 0 or len(found.inputs) == 0:
        raise ValueError(f"`Task({split}=...)`: the set is empty. Give at least one example.")
    if len(found.inputs) != len(found.targets):
        raise ValueError(
            f"`Task({split}=...)`: {len(found.inputs)} inputs but {len(found.targets)} targets. "
            "Give one target per input."
        )
    for name, part in (("inputs", found.inputs), ("targets", found.targets)):
        is_suspect = part.is_floating_point() and not math.isfinite(float(part.sum(dtype=torch.float64)))
        if is_suspect and (bad := int((~part.isfinite()).sum())):
            raise ValueError(
                f"`Task({split}=...)`: {bad} of {part.numel()} numbers in the {name} are NaN or infinite. "
                "Clean or impute them first."
            )
