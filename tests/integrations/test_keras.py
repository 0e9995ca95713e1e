"""Keras on PyTorch: the moments of a direct computation, with clipping and accumulation; the same weights without it."""

import itertools
import os
from typing import Any

import numpy as np
import pytest
import torch

from critbatch.noise import noise_moments

from . import raw

pytestmark = pytest.mark.filterwarnings("ignore")
CLASSES = 3


@pytest.fixture(autouse=True)
def _on_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    raw.needs("keras")
    if "KERAS_BACKEND" not in os.environ:
        monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras

    if keras.backend.backend() != "torch":
        pytest.fail("Keras was imported with another backend before this test")


def network(kind: str) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    middle = {
        "mlp": [layers.Dense(8, activation="tanh"), layers.LayerNormalization()],
        "cnn": [layers.Reshape((3, 2, 1)), layers.Conv2D(4, 2, activation="relu"), layers.Flatten()],
        "words": [layers.Embedding(20, 4), layers.LSTM(4)],
        "batch norm": [layers.Dense(8), layers.BatchNormalization(), layers.Activation("tanh")],
        "dropout": [layers.Dense(8, activation="relu"), layers.Dropout(0.5)],
    }[kind]
    kept = keras.Input((6,), dtype="int32" if kind == "words" else "float32")
    return keras.Sequential([kept, *middle, layers.Dense(CLASSES)])


def data(kind: str) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    inputs = draw.integers(20, size=(raw.COUNT, 6)) if kind == "words" else draw.normal(size=(raw.COUNT, 6))
    return inputs.astype("int32" if kind == "words" else "float32"), draw.integers(CLASSES, size=raw.COUNT)


def optimizer(name: str, accumulated: int) -> Any:
    import keras

    often = {"gradient_accumulation_steps": accumulated if accumulated > 1 else None, "global_clipnorm": raw.CLIP}
    if name == "Adam":
        return keras.optimizers.Adam(0.01, **often)
    return keras.optimizers.SGD(raw.RATE, momentum=0.9 if name == "momentum" else 0.0, **often)


def fit(
    kind: str, accumulated: int, *, name: str = "SGD", watched: bool = True, **options: Any
) -> tuple[Any, Any, list[list[np.ndarray]]]:
    import keras

    from critbatch.integrations.keras import NoiseScaleCallback

    class Before(keras.callbacks.Callback):
        """Keeps the weights before each batch."""

        def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
            seen.append(self.model.get_weights())

    seen: list[list[np.ndarray]] = []
    model, noise = network(kind), NoiseScaleCallback(every=1, **options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer(name, accumulated), loss=loss)
    inputs, targets = data(kind)
    shown = [Before(), *([noise] if watched else [])]
    model.fit(inputs, targets, batch_size=raw.SIZE, epochs=raw.EPOCHS, shuffle=False, verbose=0, callbacks=shown)
    assert "apply" not in model.optimizer.__dict__
    return noise, model, seen


def gradients(kind: str, weights: list[np.ndarray], pieces: list[np.ndarray]) -> torch.Tensor:
    """Return the mean gradient of each piece by an ordinary backward."""
    model, (inputs, targets), rows = network(kind), data(kind), []
    model.set_weights(weights)
    for piece in pieces:
        outputs = model(torch.from_numpy(inputs[piece]), training=True)
        loss = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(targets[piece]))
        found = torch.autograd.grad(loss, [one.value for one in model.trainable_variables])
        rows.append(torch.cat([one.flatten() for one in found]).double())
    return torch.stack(rows)


@pytest.mark.parametrize(
    ("kind", "accumulated", "unit"),
    [
        ("mlp", 1, "auto"), ("mlp", 4, "auto"), ("mlp", 4, "example"), ("cnn", 1, "auto"), ("words", 1, "auto"),
        ("words", 4, "auto"), ("batch norm", 4, "auto"),
    ],
)  # fmt: skip
def test_moments_are_those_of_a_direct_computation(kind: str, accumulated: int, unit: str) -> None:
    noise, _, seen = fit(kind, accumulated, unit=unit)
    monitor = noise.monitor
    assert monitor.messages == []
    assert monitor.steps == len(seen) // accumulated
    assert len(monitor.history.measured) == monitor.steps - 1
    part = raw.SIZE if unit == "auto" and accumulated > 1 else 1
    order = np.tile(np.arange(raw.COUNT), raw.EPOCHS).reshape(-1, raw.SIZE)
    for one in monitor.history.measured:
        first = one.step * accumulated
        examples = np.concatenate(order[first : first + accumulated])
        pieces = np.split(examples, len(examples) // part)
        rows = gradients(kind, seen[first], pieces)
        trace, norm = noise_moments(rows, torch.full((len(pieces),), float(part), dtype=torch.float64))
        assert one.moments.examples == len(examples)
        assert one.moments.traces.sum() == pytest.approx(float(trace), rel=1e-5)
        assert one.moments.squared_norms.sum() == pytest.approx(float(norm), abs=1e-5 * float(trace))


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adam"])
@pytest.mark.parametrize(("kind", "accumulated"), [("mlp", 1), ("dropout", 4), ("batch norm", 4)])
def test_weights_are_the_same_bit_for_bit(kind: str, accumulated: int, name: str) -> None:
    noise, watched, _ = fit(kind, accumulated, name=name)
    assert noise.reading().measured > 0
    alone = fit(kind, accumulated, name=name, watched=False)[1]
    for ours, theirs in zip(watched.get_weights(), alone.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("accumulated", [1, 4])
def test_products_of_consecutive_gradients(accumulated: int) -> None:
    noise, _, seen = fit("mlp", accumulated)
    order = np.tile(np.arange(raw.COUNT), raw.EPOCHS).reshape(-1, raw.SIZE)
    rows = []
    for step in range(noise.monitor.steps):
        first = step * accumulated
        rows.append(gradients("mlp", seen[first], [np.concatenate(order[first : first + accumulated])])[0])
    expected = [float(one @ two) for one, two in itertools.pairwise(rows[1:])]
    assert np.array([one for one, _ in noise.monitor.history.products]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_adam_sees_the_preconditioner_of_before_the_batch() -> None:
    noise, model, _ = fit("mlp", 1, name="Adam")
    group, state = noise.monitor.optimizer.param_groups[0], noise.monitor.optimizer.state
    variable, rate = model.trainable_variables[0], 0.01
    before, moment = variable.value.detach().clone(), model.optimizer._momentums[0].value
    settings = state[variable.value]
    count = settings["step"]
    corrected = (settings["exp_avg_sq"] / (1 - group["betas"][1] ** count)).sqrt() + group["eps"]
    update = rate * moment / (1 - group["betas"][0] ** count) / corrected
    model.optimizer._iterations.assign(count - 1)  # what the last update was made of gives that update again
    beta = float(np.sqrt(1 - 0.999**count))
    root = model.optimizer._velocities[0].value.sqrt() + 1e-7
    assert torch.allclose(update, rate * beta / (1 - 0.9**count) * moment / root, rtol=1e-5)
    assert before.shape == update.shape


def test_a_layer_that_couples_examples_is_refused_without_accumulation() -> None:
    noise, _, _ = fit("batch norm", 1)
    assert "batch statistics" in noise.monitor.why_off


def test_layers_are_named_by_their_path() -> None:
    noise, model, _ = fit("mlp", 1)
    names = list(noise.reading().layers)
    assert len(names) == 3
    assert {name.rpartition(".")[2] for name in names} == {one.name for one in model.layers if one.weights}
    assert noise.reading().norm_layers[0].count == 21  # measured steps: the normalising layer is known as one


def test_a_compiled_step_is_refused() -> None:
    from critbatch.integrations.keras import NoiseScaleCallback

    model = network("mlp")
    model.compile("sgd", "mse")
    model.jit_compile = True
    noise = NoiseScaleCallback()
    noise.set_model(model)
    with pytest.raises(ValueError, match="jit_compile=False"):
        noise.on_train_begin()
