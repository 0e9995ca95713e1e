"""The UCI tables: every row and class that the README counts, and features that the training part alone has scaled."""

import numpy as np
import pytest
import torch

from critbatch.datasets.tables import Column
from critbatch.datasets.uci import encode, uci

from ..requirements import require_data

# rows with a class, features, classes
TABLES = {
    "australian": (690, 14, 2),
    "breast.w": (699, 9, 2),
    "bridges.version1": (105, 84, 6),
    "bridges.version2": (105, 94, 6),
    "bupa": (345, 6, 2),
    "credit.a": (690, 52, 2),
    "diabetes": (768, 8, 2),
    "flags": (194, 120, 8),
    "glass": (214, 9, 6),
    "heart.c": (303, 26, 2),
    "heart.h": (294, 30, 2),
    "heart.statlog": (270, 13, 2),
    "hepatitis": (155, 42, 2),
    "ionosphere": (351, 34, 2),
    "iris": (150, 4, 3),
    "led24": (3200, 24, 10),
    "led7": (3200, 7, 10),
    "letter": (20_000, 16, 26),
    "mushroom": (8124, 126, 2),
    "satimage": (6435, 36, 6),
    "segment": (2310, 19, 7),
    "shuttle": (58_000, 9, 7),
    "sonar": (208, 60, 2),
    "vehicle": (846, 18, 4),
    "vote": (435, 48, 2),
    "vowel": (990, 10, 11),
    "wine": (178, 13, 3),
    "zoo": (101, 31, 7),
}


@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_read_whole(table):
    require_data()
    rows, features, classes = TABLES[table]
    data, names = uci(table)
    parts = (data.train, data.validation, data.test)
    assert sum(map(len, parts)) == rows
    assert len(data.train) == pytest.approx(0.6 * rows, abs=1)
    assert data.train.inputs.shape[1] == features
    assert len(names) == classes
    assert torch.cat([part.targets for part in parts]).unique().tolist() == list(range(classes))
    assert all(part.inputs.isfinite().all() for part in parts)


def test_numbers_are_scaled_by_the_training_part_and_missing_ones_become_its_mean():
    columns = [Column("size", ("1", "3", None, "9"), None), Column("kind", ("x", "y", None, "x"), ("x", "y"))]
    made = encode(columns, np.array([0, 1, 2]))
    assert made.dtype == np.float32
    spread = float(np.std([1, 3, 2]))
    expected = [[-1 / spread, 1, 0, 0], [1 / spread, 0, 1, 0], [0, 0, 0, 1], [7 / spread, 1, 0, 0]]
    np.testing.assert_allclose(made, expected, rtol=1e-6)


def test_a_column_without_a_training_value_becomes_zero():
    made = encode([Column("size", (None, None, "4"), None)], np.array([0, 1]))
    assert made.tolist() == [[0], [0], [4]]


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("CRITBATCH_DATA", str(tmp_path))
    (tmp_path / "uci-wilson-martinez").mkdir()
    (tmp_path / "uci-wilson-martinez" / "mine.arff").write_text("@attribute a real\n@data\nx,y\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"mine\.arff: ARFF line 3: 2 values for 1 attributes"):
        uci("mine")
    with pytest.raises(FileNotFoundError, match=r"no .*other\.arff nor .*other\.tsv\.gz"):
        uci("other")
