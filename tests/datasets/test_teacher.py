"""The teacher: fixed, noisy by a known amount, and never the same example twice."""

import torch

from critbatch.datasets.teacher import NOISE, clean_labels, draw, teacher_student
from critbatch.randomness import generator


def test_the_noise_has_the_deviation_that_is_stated():
    inputs, labels = draw(generator(0, "test teacher"), 100_000)
    error = labels - clean_labels(inputs)
    # the standard deviation of a sample deviation of n normal numbers is about sigma / sqrt(2 n)
    assert abs(float(error.std()) - NOISE) <= 4 * NOISE / (2 * 100_000) ** 0.5
    assert abs(float(clean_labels(inputs).std()) - 1) < 0.05


def test_validation_test_and_training_examples_differ():
    data = teacher_student(epoch=64, validation=64, test=64)
    drawn = [data.train.epoch(0, 0).inputs, data.train.epoch(0, 1).inputs, data.validation.inputs, data.test.inputs]
    assert len(torch.cat(drawn).unique(dim=0)) == 256
    assert torch.equal(data.test.inputs, teacher_student(test=64).test.inputs)
