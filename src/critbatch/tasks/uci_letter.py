"""Printed capital letters, by 16 features."""

from functools import partial

from ..datasets.uci import uci
from ..models.mlp import mlp
from ..task import Target, Task


def task() -> Task:
    """Return a multilayer perceptron 16-64-26 on the UCI table letter, read from CRITBATCH_DATA.

    12,000 training, 4,000 validation and 4,000 test examples, 16 inputs, 26 classes, 2,778 parameters.

    Target: validation accuracy 0.8. Plain SGD reached it with each of two seeds: 70 to 80 steps at batch size 4096
    (learning rate 4), 264 at 64 (1), 12,000 to 13,000, about one epoch, at 1 (0.03); large batches end near 0.92.

    Source: Frey and Slate (1991), Machine Learning 6; UCI Letter Recognition, CC BY 4.0.
    """
    data, _ = uci("letter")
    return Task(
        name="uci_letter",
        model=partial(mlp, (16, 64, 26)),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_accuracy", 0.8),
    )
