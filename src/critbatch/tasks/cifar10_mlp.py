"""CIFAR-10 for a multilayer perceptron."""

from functools import partial

from ..datasets.cifar import cifar10
from ..models.mlp import mlp
from ..task import Target, Task


def task() -> Task:
    """Return a multilayer perceptron 3072-64-10 on CIFAR-10, read from CRITBATCH_DATA.

    8,192 training images, a fixed sample of the 10,000 of data_batch_1, so that a sweep fits a laptop; validation
    is the first 2,000 of data_batch_2, test the first 1,000 of test_batch. 197,322 parameters.

    Target: validation accuracy 0.38. Plain SGD reached it with one seed: 30 steps at batch size 1024 (learning rate
    0.1), 300 at 32 (0.02), 5,000 at 1 (0.001); it ends near 0.44 and then overfits.

    Source: Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images.
    """
    data = cifar10()
    return Task(
        name="cifar10_mlp",
        model=partial(mlp, (3072, 64, 10)),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_accuracy", 0.38),
    )
