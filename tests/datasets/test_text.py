"""Sequences of characters: the target is the next one."""

import pytest
import torch

from critbatch.datasets.text import sequences, shakespeare

from ..requirements import require_data


def test_the_target_is_the_next_token_and_sequences_do_not_overlap():
    made = sequences(torch.arange(11), 3)
    assert made.inputs.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert made.targets.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_a_text_that_fills_no_sequence_is_refused():
    with pytest.raises(ValueError, match=r"`sequences\(length=3\)`: 3 tokens do not fill one. Give 4 or more"):
        sequences(torch.arange(3), 3)


def test_another_text_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    (tmp_path / "tiny-shakespeare").mkdir()
    (tmp_path / "tiny-shakespeare" / "input.txt").write_text("to be or not to be", encoding="utf-8")
    with pytest.raises(ValueError, match="has 7 distinct characters, not 65"):
        shakespeare()


def test_tiny_shakespeare_has_65_characters_and_parts_that_share_no_sequence():
    require_data()
    data = shakespeare()
    assert data.train.inputs.shape == (8192, 32)
    assert torch.equal(data.train.inputs[:, 1:], data.train.targets[:, :-1])
    assert 0 <= data.train.inputs.min() <= data.train.inputs.max() == 64
    assert len(data.train.inputs.unique()) > 60  # two characters are there only once
    seen = {tuple(row) for row in data.train.inputs.tolist()}
    assert not seen & {tuple(row) for part in (data.validation, data.test) for row in part.inputs.tolist()}
