"""CIFAR-10: binary records only."""

import lzma

import numpy as np
import pytest
import torch

from critbatch.datasets.cifar import RECORD, cifar10, read_records
from critbatch.datasets.location import locate

from ..requirements import require_data

TRAIN_COUNTS = [1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981]
TEST_COUNTS = [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]


def records(count: int) -> np.ndarray:
    made = np.random.default_rng(0).integers(0, 256, (count, RECORD), dtype=np.uint8)
    made[:, 0] = np.arange(count) % 10
    return made


def test_records_are_read_packed_or_not(tmp_path):
    made = records(3)
    (tmp_path / "a.bin").write_bytes(made.tobytes())
    (tmp_path / "a.bin.xz").write_bytes(lzma.compress(made.tobytes()))
    for name in ("a.bin", "a.bin.xz"):
        assert np.array_equal(read_records(tmp_path / name, 2), made[:2])


BAD = {
    "few.bin": (records(2).tobytes()[:-1], "holds 1.99967 records, 2 are needed"),
    "cut.xz": (lzma.compress(records(2).tobytes())[:-40], "is not a whole xz file"),
    "other.bin": (bytes([10]) * 2 * RECORD, "has a label 10, above 9"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_is_refused(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_records(tmp_path / name, 2)


def test_the_pickled_version_is_never_read_and_the_message_says_what_to_get(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(FileNotFoundError, match=r"pickle, which could run any code.*cifar-10-binary\.tar\.gz"):
        cifar10()


def test_without_any_version_the_pickle_is_not_mentioned(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="cifar-10-batches-bin") as caught:
        cifar10()
    assert "pickle" not in str(caught.value)


def test_a_torchvision_folder_of_the_binary_version_is_read(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    made = records(10_000)
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (folder / f"{name}.bin").write_bytes(made.tobytes())
    data = cifar10(train=100, validation=20, test=10)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [100, 20, 10]
    assert data.train.inputs.shape[1:] == (3, 32, 32)
    assert torch.bincount(data.train.targets).tolist() == [10] * 10


def test_the_published_records_have_their_counts_and_order_of_colours():
    require_data()
    first = read_records(locate("cifar10/test_batch.first1000.bin.xz"), 1000)
    assert np.bincount(first[:, 0]).tolist() == TEST_COUNTS
    data = cifar10()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [8192, 2000, 1000]
    assert torch.bincount(data.test.targets).tolist() == TEST_COUNTS
    expected = torch.tensor(TRAIN_COUNTS) * 0.8192  # a stratified sample of all 10,000
    assert (torch.bincount(data.train.targets) - expected).abs().max() <= 1
    assert data.train.inputs.mean((0, 2, 3)).abs().max() < 1e-4
    assert data.train.inputs.std((0, 2, 3)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


def test_pixels_go_to_their_channel_row_and_column(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    made = records(10_000)
    made[:, 1:] = np.repeat([10, 20, 30], 1024)
    made[:, 1 + 1024 + 32 * 5 + 7] = 90  # green, row 5, column 7
    made[::2, 1:] += 1
    for name in ("data_batch_1", "data_batch_2", "test_batch"):
        (folder / f"{name}.bin").write_bytes(made.tobytes())
    first = cifar10(train=20, validation=10, test=10).train.inputs[0]
    assert (first[1] == first[1].max()).nonzero().tolist() == [[5, 7]]
    assert len(first[0].unique()) == len(first[2].unique()) == 1
