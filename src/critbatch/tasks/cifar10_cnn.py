"""CIFAR-10 for a small convolutional network."""

from functools import partial

from ..datasets.cifar import cifar10
from ..models.cnn import cnn
from ..task import Target, Task


def task() -> Task:
    """Return two convolutions and one linear layer on CIFAR-10, read from CRITBATCH_DATA.

    8,192 training images, a fixed sample of the 10,000 of data_batch_1, so that a sweep fits a laptop; validation
    is the first 2,000 of data_batch_2, test the first 1,000 of test_batch. Convolutions of 16 and 32 channels
    without batch normalisation; 25,578 parameters.

    Target: validation accuracy 0.45. Plain SGD reached it with one seed: 96 steps at batch size 512 (learning rate
    0.2), 320 at 32 (0.1), 6,300 at 1 (0.005).

    Source: Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images.
    """
    data = cifar10()
    return Task(
        name="cifar10_cnn",
        model=partial(cnn, 3, 32, 10),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_accuracy", 0.45),
    )
