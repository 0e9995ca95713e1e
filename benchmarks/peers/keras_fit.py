"""Keras, compiled by its default: `fit` on arrays, shuffled. The backend is what KERAS_BACKEND says."""

import os

import keras  # pyrefly: ignore[missing-import]

from ..answering import Trial, answer, timed
from ..workloads import CHANNELS, CLASSES, SIDE, Workload

LONGEST_EPOCH = 2048  # updates; a longer epoch is cut short, so that a repeat does not take many seconds


def prepare(workload: Workload, batch_size: int) -> Trial:
    """Return a training by `fit`."""
    net = _model(workload)
    net.compile(keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    inputs, targets = workload.inputs(), workload.targets()
    if workload.is_cnn:
        inputs = inputs.reshape(-1, SIDE, SIDE, 1)

    def advance(updates: int) -> int:
        longest = min(LONGEST_EPOCH, len(inputs) // batch_size)
        epochs = max(1, round(updates / longest))
        steps = min(longest, -(-updates // epochs))
        some = steps * batch_size
        net.fit(inputs[:some], targets[:some], batch_size=batch_size, epochs=epochs, shuffle=True, verbose=0)
        return steps * epochs

    return Trial(timed(advance))


def _model(workload: Workload) -> keras.Model:
    layers = keras.layers
    if workload.is_cnn:
        net: list[keras.Layer] = []
        for channels in CHANNELS:
            net += [layers.Conv2D(channels, 3, padding="same", activation="relu"), layers.MaxPooling2D(2)]
        return keras.Sequential([keras.Input((SIDE, SIDE, 1)), *net, layers.Flatten(), layers.Dense(CLASSES)])
    net = []
    for width in workload.widths[1:-1]:
        norm = [layers.BatchNormalization(momentum=0.9, epsilon=1e-5)] if workload.batch_norm else []
        net += [layers.Dense(width), *norm, layers.ReLU()]
    return keras.Sequential([keras.Input((workload.widths[0],)), *net, layers.Dense(CLASSES)])


if __name__ == "__main__":
    backend = os.environ["KERAS_BACKEND"]
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    answer({f"Keras ({backend})": prepare}, ("keras", backend))
