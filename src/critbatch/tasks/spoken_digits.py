"""Spoken digits."""

from functools import partial

from ..datasets.spoken import spoken_digits
from ..models.mlp import mlp
from ..task import Target, Task


def task() -> Task:
    """Return a multilayer perceptron 130-64-10 on features of spoken digits, read from CRITBATCH_DATA.

    2,048 training, 652 validation and 300 test recordings of six speakers (test: takes 0 to 4, as the authors
    split); inputs are 13 mel-frequency cepstral coefficients in each of 10 slices of time; 10 classes, 9,034
    parameters.

    Target: validation accuracy 0.96. Plain SGD reached it with each of two seeds: 15 to 20 steps at batch size 2048
    (learning rate 2), 75 to 100 at 32 (0.5), 2,300 at 1 (0.01); it ends between 0.974 and 0.98.

    Source: Jackson et al. (2018), Free Spoken Digit Dataset, CC BY-SA 4.0.
    """
    data = spoken_digits()
    return Task(
        name="spoken_digits",
        model=partial(mlp, (130, 64, 10)),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_accuracy", 0.96),
    )
