"""Fashion-MNIST for a small convolutional network."""

from functools import partial

from ..datasets.idx import fashion_mnist
from ..models.cnn import cnn
from ..task import Target, Task


def task() -> Task:
    """Return two convolutions and one linear layer on Fashion-MNIST at 28 x 28 pixels, from CRITBATCH_DATA.

    8,192 training images: a fixed sample of the official 60,000 training images, so that a sweep fits a laptop;
    2,000 others are validation, and test is a fixed sample of 2,000 of the 10,000 test images. Convolutions of 16
    and 32 channels without batch normalisation; 20,490 parameters.

    Target: validation accuracy 0.8. Plain SGD reached it with one seed: 80 steps at batch size 512 (learning rate
    0.2; at 0.5 it sticks at chance), 200 at 32 (0.1); batch size 1 was not measured.

    Source: Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747.
    """
    data = fashion_mnist()
    return Task(
        name="fashion_cnn",
        model=partial(cnn, 1, 28, 10),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_accuracy", 0.8),
    )
