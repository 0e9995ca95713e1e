"""Training an MLP using Keras (on PyTorch): is its batch too small, or too large? With clipping and accumulation."""

import os
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
from sklearn.datasets import load_digits

from critbatch.integrations.keras import NoiseScaleCallback

digits: Any = load_digits()
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, activation="relu"), keras.layers.Dense(10)])
model.compile(
    keras.optimizers.Adam(1e-3, global_clipnorm=1.0, gradient_accumulation_steps=4),
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
)
noise = NoiseScaleCallback(every=5)
model.fit(digits.data / 16, digits.target, batch_size=64, epochs=4, verbose=0, callbacks=[noise])

print(noise.reading().sentence)
