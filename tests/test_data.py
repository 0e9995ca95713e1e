"""Every way of giving data ends in the same tensors, and what cannot be used is refused with the numbers."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import datasets
from critbatch.data import Examples, Stream, examples
from critbatch.randomness import generator

COUNT = 1100  # more than one chunk of collation
INPUTS = torch.randn(COUNT, 3, generator=generator(0, "test data"))
LABELS = torch.arange(COUNT) % 4


class Pairs(Dataset):
    """Items as a user's own class returns them: an array and a Python number."""

    def __len__(self):
        return COUNT

    def __getitem__(self, index):
        return INPUTS[index].numpy(), int(LABELS[index])


class Rows(IterableDataset):
    def __iter__(self):
        return iter([(INPUTS[0], 0)])


def collate_named(items):
    return {"count": len(items)}


def collate_pairs(items):
    return torch.stack([torch.as_tensor(item[0]) for item in items]), torch.tensor([item[1] for item in items])


def hugging_face(**columns):
    return datasets.Dataset.from_dict({name: part.tolist() for name, part in columns.items()})


SOURCES = {
    "tensors": (INPUTS, LABELS),
    "a list of two tensors": [INPUTS, LABELS],
    "int32 labels": (INPUTS, LABELS.int()),
    "arrays": (INPUTS.numpy(), LABELS.numpy()),
    "float64 arrays": (INPUTS.numpy().astype(np.float64), LABELS.numpy().astype(np.uint16)),
    "big-endian arrays": (INPUTS.numpy().astype(">f4"), LABELS.numpy().astype(">i2")),
    "lists": (INPUTS.tolist(), LABELS.tolist()),
    "a tensor and an array": (INPUTS, LABELS.numpy()),
    "TensorDataset": TensorDataset(INPUTS, LABELS),
    "own Dataset": Pairs(),
    "DataLoader": DataLoader(TensorDataset(INPUTS, LABELS), batch_size=7, shuffle=True, drop_last=True),
    "DataLoader with its own collate function": DataLoader(Pairs(), batch_size=7, collate_fn=collate_pairs),
    "Hugging Face": hugging_face(features=INPUTS, label=LABELS),
    "Hugging Face, label first": hugging_face(label=LABELS, features=INPUTS),
    "Hugging Face, no known name": hugging_face(a=INPUTS, b=LABELS),
    "Examples": Examples(INPUTS, LABELS),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_source_gives_the_same_tensors(name):
    found = examples(SOURCES[name], "train")
    assert torch.equal(found.inputs, INPUTS)
    assert found.inputs.dtype == torch.float32
    assert torch.equal(found.targets, LABELS)
    assert found.targets.dtype == torch.int64


def test_targets_of_a_regression_keep_their_type():
    assert examples((INPUTS, INPUTS[:, 0].double()), "train").targets.dtype == torch.float64
    assert examples((INPUTS, LABELS > 1), "train").targets.dtype == torch.bool


def test_arrays_that_cannot_be_written_to_are_copied_without_a_warning():
    frozen = INPUTS.numpy().copy()
    frozen.flags.writeable = False
    found = examples((frozen, LABELS.numpy()[::-1]), "train")
    assert torch.equal(found.inputs, INPUTS)
    assert torch.equal(found.targets, LABELS.flip(0))


def test_data_that_require_a_gradient_are_detached():
    found = examples(Examples(INPUTS.clone().requires_grad_(), LABELS), "train")
    assert not found.inputs.requires_grad


def test_finite_numbers_whose_sum_is_not_are_let_pass():
    large = torch.full((4, 1), 1e308, dtype=torch.float64)
    assert len(examples((large, LABELS[:4]), "train")) == 4


def with_nan():
    inputs = INPUTS.clone()
    inputs[3, 1], inputs[5, 0] = float("nan"), float("inf")
    return inputs


BAD = {
    "another type": ({"x": INPUTS}, TypeError, r"`Task\(train=\.\.\.\)`: cannot read a dict\. Give a pair"),
    "one tensor": (INPUTS, TypeError, "cannot read a Tensor"),
    "three tensors": ((INPUTS, LABELS, LABELS), TypeError, "cannot read a tuple"),
    "a number as inputs": ((torch.tensor(1.0), LABELS), ValueError, "the set is empty"),
    "no examples": ((INPUTS[:0], LABELS[:0]), ValueError, "the set is empty. Give at least one example"),
    "an empty Dataset": (TensorDataset(INPUTS[:0], LABELS[:0]), ValueError, "the dataset is empty"),
    "other lengths": ((INPUTS[:10], LABELS[:9]), ValueError, "10 inputs but 9 targets. Give one target per input"),
    "NaN": ((with_nan(), LABELS), ValueError, "2 of 3300 numbers in the inputs are NaN or infinite"),
    "NaN targets": ((INPUTS, with_nan()[:, 0]), ValueError, "1 of 1100 numbers in the targets are NaN or infinite"),
    "texts": ((["a", "b"], [0, 1]), TypeError, "train inputs: an array of <U1 cannot become a tensor"),
    "ragged lists": (([[1.0], [1.0, 2.0]], [0, 1]), ValueError, "train inputs: .*Give every example the same shape"),
    "an IterableDataset": (Rows(), TypeError, "an IterableDataset cannot be visited .* Give a map-style Dataset"),
    "its DataLoader": (DataLoader(Rows()), TypeError, "an IterableDataset cannot be visited"),
    "a DataLoader of batches": (DataLoader(Pairs(), batch_size=None), TypeError, "batch_size=None does not collate"),
    "collated to a dict": (
        DataLoader(Pairs(), collate_fn=collate_named), TypeError, r"returned dict, not \(inputs, targets\)",
    ),
    "three parts": (TensorDataset(INPUTS, LABELS, LABELS), TypeError, r"returned list, not \(inputs, targets\)"),
    "three columns": (
        hugging_face(a=INPUTS, b=LABELS, c=LABELS), ValueError, r"columns \['a', 'b', 'c'\]; two are needed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_with_a_reason(name):
    source, error, message = BAD[name]
    with pytest.raises(error, match=message):
        examples(source, "train")


class Growing(Dataset):
    """Sequences that get longer, in steps of 1,024 examples or each."""

    def __init__(self, step):
        self.step = step

    def __len__(self):
        return 1030

    def __getitem__(self, index):
        return torch.zeros(1 + index // self.step), 0


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (1, "examples 0 to 1023 cannot be collated: .*Give every example the same shape"),
        (1024, r"different shapes \[\(1,\), \(2,\)\]. Pad them"),
    ],
)
def test_examples_of_different_shapes_are_refused(step, message):
    with pytest.raises(ValueError, match=message):
        examples(Growing(step), "test")


def test_columns_of_texts_are_refused():
    source = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [0, 1]})
    with pytest.raises(TypeError, match=r"train 'text': an array of .* cannot become a tensor"):
        examples(source, "train")


def draw(source, count):
    return torch.randn(count, 2, generator=source), torch.randint(3, (count,), generator=source)


def test_a_stream_repeats_an_epoch_of_a_seed_and_differs_elsewhere():
    stream = Stream(draw, 16)
    first, again = stream.epoch(0, 0), stream.epoch(0, 0)
    assert torch.equal(first.inputs, again.inputs)
    assert torch.equal(first.targets, again.targets)
    for seed, index in ((0, 1), (1, 0)):
        assert not torch.equal(first.inputs, stream.epoch(seed, index).inputs)
    assert len(stream) == len(first) == 16


def test_a_stream_that_draws_another_number_is_refused():
    with pytest.raises(ValueError, match=r"`Stream\(size=16\)`: the draw returned 8 examples"):
        Stream(lambda source, count: draw(source, 8), 16).epoch(0, 0)


def test_finite_sets_are_the_same_in_every_epoch():
    data = examples((INPUTS, LABELS), "train")
    assert data.epoch(3, 7) is data


def test_moving_converts_floating_numbers_only():
    moved = Examples(INPUTS, LABELS).to(torch.device("cpu"), torch.float64)
    assert moved.inputs.dtype == torch.float64
    assert moved.targets.dtype == torch.int64
