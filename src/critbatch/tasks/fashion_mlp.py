"""Fashion-MNIST for a multilayer perceptron."""

from functools import partial

from ..datasets.idx import fashion_mnist
from ..models.mlp import mlp
from ..task import Target, Task


def task() -> Task:
    """Return a multilayer perceptron 196-128-10 on Fashion-MNIST at 14 x 14 pixels, from CRITBATCH_DATA.

    8,192 training images: a fixed sample of the official 60,000 training images, so that a sweep fits a laptop;
    2,000 others are validation, and test is a fixed sample of 2,000 of the 10,000 test images. Pixels are averaged
    2 x 2. 26,506 parameters.

    Target: validation accuracy 0.82. Plain SGD reached it: 176 steps at batch size 8192 (learning rate 0.5, one
    seed), 575 to 625 at 64 (0.25, two seeds), 15,700 at 1 (0.005, one seed). At a constant learning rate the
    accuracy swings by two points from look to look.

    Source: Xiao, Rasul and Vollgraf (2017), arXiv:1708.07747.
    """
    data = fashion_mnist(pool=2)
    return Task(
        name="fashion_mlp",
        model=partial(mlp, (196, 128, 10)),
        train=data.train,
        validation=data.validation,
        test=data.test,
        target=Target("validation_accuracy", 0.82),
    )
