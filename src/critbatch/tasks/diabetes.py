"""Progression of diabetes: a regression."""

from functools import partial

from ..datasets.sklearn import diabetes
from ..models.mlp import mlp
from ..task import Target, Task


def task() -> Task:
    """Return a multilayer perceptron 10-16-1 for a number; no data folder is needed.

    266 training, 88 validation and 88 test examples, 10 inputs, 193 parameters. The loss is half the squared error
    in standard deviations of the training targets: 0.5 for always predicting their mean.

    Target: training loss 0.2. Plain SGD reached it with each of two seeds: 30 to 35 steps at batch size 266
    (learning rate 0.25), 80 to 90 at 16 (0.12), 700 at 1 (0.02). On validation data the loss bottoms out near 0.28
    and then rises: the set is small and noisy, which makes this a task about optimisation.

    Source: Efron, Hastie, Johnstone and Tibshirani (2004), Least Angle Regression, Annals of Statistics 32(2).
    """
    data = diabetes()
    return Task(
        name="diabetes",
        model=partial(mlp, (10, 16, 1)),
        train=data.train,
        validation=data.validation,
        test=data.test,
        loss="squared_error",
        metric="squared_error",
        target=Target("train_loss", 0.2),
    )
