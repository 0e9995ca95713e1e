"""The tables of scikit-learn: sizes, scale, and nothing lost."""

from pathlib import Path

import pytest
import sklearn
import torch
from sklearn.datasets import load_digits

from critbatch.datasets import sklearn as tables
from critbatch.datasets.digits import PLACE, digits


def test_digits_have_a_training_set_of_a_power_of_four():
    data = digits()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1024, 273, 500]
    assert data.train.inputs.mean(0).abs().max() < 1e-6
    assert 0 <= data.test.targets.min() <= data.test.targets.max() == 9


def test_digits_are_those_of_scikit_learn_each_once():
    data = digits()
    pixels, labels = load_digits(return_X_y=True)
    centre = torch.tensor(pixels.mean(0) / 16, dtype=torch.float32)
    inputs = torch.cat([part.inputs for part in (data.train, data.validation, data.test)])
    offset = inputs.mean(0) - 0 * centre  # the centre is the training mean: restore it from the whole mean
    restored = (16 * (inputs - offset + centre)).round().long()
    targets = torch.cat([part.targets for part in (data.train, data.validation, data.test)])
    found = sorted(map(tuple, torch.cat([restored, targets[:, None]], 1).tolist()))
    rows = torch.cat([torch.tensor(pixels).long(), torch.tensor(labels)[:, None]], 1)
    assert found == sorted(map(tuple, rows.tolist()))


def test_the_file_is_where_scikit_learn_of_today_keeps_it():
    assert (Path(sklearn.__file__).parent / PLACE).is_file()


@pytest.mark.parametrize(
    ("name", "sizes", "inputs", "classes"),
    [("breast_cancer", (341, 114, 114), 30, 2), ("wine", (106, 36, 36), 13, 3), ("iris", (90, 30, 30), 4, 3)],
)
def test_a_table_is_standardised_on_its_training_part(name, sizes, inputs, classes):
    data = vars(tables)[name]()
    assert tuple(len(part) for part in (data.train, data.validation, data.test)) == sizes
    assert data.train.inputs.shape[1] == inputs
    assert data.train.inputs.mean(0).abs().max() < 1e-5  # float32 sums
    assert (data.train.inputs.std(0, correction=0) - 1).abs().max() < 1e-4
    for part in (data.train, data.validation, data.test):
        assert part.targets.unique().tolist() == list(range(classes))


def test_diabetes_is_a_regression_in_standard_deviations():
    data = tables.diabetes()
    assert [len(part) for part in (data.train, data.validation, data.test)] == [266, 88, 88]
    assert abs(float(data.train.targets.mean())) < 1e-6
    assert abs(float(data.train.targets.std(correction=0)) - 1) < 1e-6
