"""The twelve-bit task: its splits in both orders, and files that are not it."""

import gzip

import pytest
import torch
from scipy.io import savemat

from critbatch.datasets import twelve_bits as module
from critbatch.datasets.twelve_bits import twelve_bits

from ..requirements import require_data

BLOCKS = [0.225, 0.416, 0.342, 0.654, 0.416, 0.580, 0.415]  # read in the released code's data


def numbers(examples) -> set[int]:
    return set((examples.inputs @ (2.0 ** torch.arange(12))).int().tolist())


@pytest.mark.parametrize("in_order", [False, True])
@pytest.mark.parametrize("train", [3277, 1229])
def test_parts_share_no_pattern_and_hold_all(train, in_order):
    require_data()
    parts = twelve_bits(train=train, in_order=in_order)
    sets = [numbers(part) for part in (parts.train, parts.validation, parts.test)]
    assert [len(one) for one in sets] == [train, 400, 4096 - train - 400]
    assert len(set.union(*sets)) == 4096


def test_in_order_batches_differ_in_their_labels_and_shuffled_ones_do_not():
    require_data()
    lie = twelve_bits(train=3277, in_order=True)
    blocks = [float(block.float().mean()) for block in lie.train.targets.split(512)]
    assert blocks == pytest.approx(BLOCKS, abs=6e-4)
    rest = torch.cat([lie.validation.targets, lie.test.targets]).float()
    assert float(rest.mean()) == pytest.approx(0.836, abs=6e-4)
    drawn = twelve_bits(train=3277).train.targets.float()
    assert float(drawn.mean()) == pytest.approx(0.517, abs=0.02)
    assert all(abs(float(block.mean()) - 0.517) < 0.1 for block in drawn.split(512)[:6])


def test_fewer_examples_are_the_first_of_more():
    require_data()
    assert torch.equal(twelve_bits(train=100).train.inputs, twelve_bits(train=200).train.inputs[:100])


@pytest.mark.parametrize("train", [0, 3696])
def test_nothing_left_to_test_on_is_refused(train):
    require_data()
    with pytest.raises(ValueError, match="leave 1"):
        twelve_bits(train=train)


def damaged(folder, how: str):
    path = folder / "ib-12bit" / "var_u.mat"
    path.parent.mkdir()
    if how == "shape":
        savemat(path, {"F": [[0, 1]], "y": [1]})
    elif how == "names":
        savemat(path, {"G": [[0, 1]]})
    elif how == "cut":
        savemat(path, {"F": [[0, 1]], "y": [1]})
        path.write_bytes(path.read_bytes()[:150])
    else:
        path.write_bytes(gzip.compress(b"something else"))


@pytest.mark.parametrize("how", ["shape", "names", "cut", "other"])
def test_other_files_are_refused(tmp_path, monkeypatch, how):
    damaged(tmp_path, how)
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    module._table.cache_clear()
    try:
        with pytest.raises(ValueError, match="Copy it again"):
            twelve_bits(train=100)
    finally:
        module._table.cache_clear()
