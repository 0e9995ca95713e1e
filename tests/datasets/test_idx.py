"""idx files: what their header says, and the two published sets."""

import gzip
import struct

import numpy as np
import pytest
import torch

from critbatch.datasets.idx import fashion_mnist, mnist, read_idx
from critbatch.datasets.location import locate

from ..requirements import require_data


def idx(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("shape", [(3,), (2, 3), (2, 3, 4)])
def test_what_is_written_is_read(tmp_path, shape):
    array = np.arange(np.prod(shape)).reshape(shape)
    (tmp_path / "plain").write_bytes(idx(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(array)))
    for name in ("plain", "packed.gz"):
        assert np.array_equal(read_idx(tmp_path / name), array)


BAD = {
    "x.gz": (gzip.compress(idx(np.zeros(9)))[:-9], "is not a whole gzip file"),
    "y.gz": (b"no gzip at all", "is not a whole gzip file"),
    "floats": (bytes([0, 0, 13, 1]) + bytes(8), "no idx file of unsigned bytes: it starts with 00000d01"),
    "short": (idx(np.zeros(9))[:-1], r"holds 8 values for shape \(9,\)"),
    "empty": (b"", "no idx file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_damaged_file_is_refused_with_its_path(tmp_path, name):
    content, message = BAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_idx(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_a_torchvision_folder_is_read_packed_or_not(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28))
    for name, array in (("images-idx3", images), ("labels-idx1", np.arange(40) % 10)):
        (raw / f"train-{name}-ubyte").write_bytes(idx(array))
        (raw / f"t10k-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array)))
    data = mnist(train=20, validation=10, test=10, pool=2)
    assert data.train.inputs.shape == (20, 1, 14, 14)
    assert abs(float(data.train.inputs.mean())) < 1e-5
    assert data.validation.targets.sort().values.tolist() == list(range(10))
    first = images[:, :2, :2].mean((1, 2)) / 255  # the first pooled pixel, before scaling
    seen = torch.cat([data.train.inputs, data.validation.inputs])[:, 0, 0, 0].double()
    assert float(torch.corrcoef(torch.stack([seen.sort().values, torch.tensor(first).sort().values[:30]]))[0, 1]) > 0.9


def test_a_missing_set_says_which_folders_would_do(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    expected = r"fashion-mnist/train-images-idx3-ubyte\.gz or FashionMNIST/raw/train-images"
    with pytest.raises(FileNotFoundError, match=expected):
        fashion_mnist()


@pytest.mark.parametrize(("folder", "load", "mean"), [("mnist", mnist, 33.3), ("fashion-mnist", fashion_mnist, 72.9)])
def test_a_published_set_has_its_shape_its_counts_and_its_mean(folder, load, mean):
    require_data()
    images = read_idx(locate(f"{folder}/train-images-idx3-ubyte.gz"))
    labels = read_idx(locate(f"{folder}/train-labels-idx1-ubyte.gz"))
    assert images.shape == (60_000, 28, 28)
    assert read_idx(locate(f"{folder}/t10k-images-idx3-ubyte.gz")).shape == (10_000, 28, 28)
    assert read_idx(locate(f"{folder}/t10k-labels-idx1-ubyte.gz")).shape == (10_000,)
    assert images.mean() == pytest.approx(mean, abs=0.05)
    counts = np.bincount(labels)
    assert counts.sum() == 60_000
    if folder == "fashion-mnist":
        assert set(counts) == {6000}
    data = load(pool=2)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [8192, 2000, 2000]
    shares = torch.bincount(data.train.targets) / 8192
    assert (shares - torch.tensor(counts / 60_000)).abs().max() < 2e-4
