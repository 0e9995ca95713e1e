"""A small convolutional network."""

from torch import nn


def cnn(channels: int, side: int, outputs: int) -> nn.Module:
    """Return two 3 x 3 convolutions of 16 and 32 channels, each halved by max pooling, and one fully connected layer.

    There is no batch normalisation: the gradient of an example does not depend on the rest of its batch.

    Args:
        channels: Channels of the images: 1 for grey, 3 for colour.
        side: Height and width of the images, a multiple of 4.
        outputs: Classes.

    Raises:
        ValueError: If the side cannot be halved twice.
    """
    if side < 4 or side % 4:
        raise ValueError(f"`cnn(side={side})`: the side is halved twice. Use a multiple of 4.")
    return nn.Sequential(
        nn.Conv2d(channels, 16, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, kernel_size=3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(32 * (side // 4) ** 2, outputs),
    )  # fmt: skip
