"""Handwritten digits of 8 x 8 pixels: the default task."""

from functools import partial

from ..datasets.digits import digits
from ..models.mlp import mlp
from ..task import Target, Task


def task() -> Task:
    """Return a multilayer perceptron 64-128-10 on scikit-learn's digits; no data folder is needed.

    1,024 training, 273 validation and 500 test examples, 64 inputs, 10 classes, 9,610 parameters. Batch sizes 1, 4,
    16, ..., 1024 run from single examples to the full batch.

    Target: validation accuracy 0.95. Plain SGD with a tuned constant learning rate reached it with each of three
    seeds at every batch size: about 30 steps at 1024 (learning rate 4), 120 to 220 at 16 (0.5), 1,000 to 2,300 at 1
    (0.06); it ends between 0.967 and 0.978.

    Source: Alpaydin and Kaynak (1998), UCI Optical Recognition of Handwritten Digits, as carried by scikit-learn.
    """
    data = digits()
    return Task(
        name="digits",
        model=partial(mlp, (64, 128, 10)),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_accuracy", 0.95),
    )
