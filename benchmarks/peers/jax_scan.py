"""JAX at its best: jit of a scan over steps of a vmap over models, batches gathered inside from data on the device."""

import math
from functools import partial
from typing import Any

import jax  # pyrefly: ignore[missing-import]
import jax.numpy as jnp  # pyrefly: ignore[missing-import]
import numpy as np
from jax import lax  # pyrefly: ignore[missing-import]

from ..answering import Trial, answer, best_together, timed
from ..workloads import CHANNELS, CLASSES, SIDE, Workload, blocks

MODELS = (1, 4, 16, 64)
LEARNING_RATE = 0.01
SECONDS_A_CALL = 0.1
FLOPS_A_SECOND = 20e9  # only to choose how many steps make a call
EPSILON, MOMENTUM = 1e-5, 0.1  # of batch normalisation, as torch has them
Tree = Any


def prepare(workload: Workload, batch_size: int) -> Trial:
    """Return a training of as many models together as is fastest for each model."""
    return best_together(MODELS, partial(_together, workload, batch_size))


def _together(workload: Workload, batch_size: int, models: int) -> Trial:
    inputs, targets = jnp.asarray(workload.inputs()), jnp.asarray(workload.targets())
    state = jax.jit(jax.vmap(partial(_initial, workload)))(jax.random.split(jax.random.key(0), models))
    expected = max(5e-6, workload.flops(batch_size) / FLOPS_A_SECOND) * models
    length = int(np.clip(SECONDS_A_CALL / expected, 4, 1024))
    streams = [blocks(workload.examples, batch_size, length, seed) for seed in range(models)]

    @partial(jax.jit, donate_argnums=0)
    def several_steps(state: Tree, chosen: jax.Array, inputs: jax.Array, targets: jax.Array) -> Tree:
        def step(state: Tree, batch: jax.Array) -> tuple[Tree, None]:
            return jax.vmap(partial(_updated, workload))(state, inputs[batch], targets[batch]), None

        return lax.scan(step, state, chosen)[0]

    def advance(updates: int) -> int:
        nonlocal state
        calls = math.ceil(updates / (models * length))
        for _ in range(calls):
            chosen = np.stack([next(stream) for stream in streams], axis=1)  # (step, model, example)
            state = several_steps(state, chosen, inputs, targets)
        jax.block_until_ready(state)
        return calls * models * length

    return Trial(timed(advance), f"M={models}")


def _initial(workload: Workload, key: jax.Array) -> tuple[list[Tree], list[Tree]]:
    """Return weights and running moments of one model; layers start as torch's do."""
    shapes = list(zip(workload.widths[:-1], workload.widths[1:], strict=True))
    if workload.is_cnn:
        first, second = CHANNELS
        shapes = [(9, first), (9 * first, second), (second * (SIDE // 4) ** 2, CLASSES)]
    weights: list[Tree] = []
    for one, (width, following) in zip(jax.random.split(key, len(shapes)), shapes, strict=True):
        bound = 1 / math.sqrt(width)
        drawn = jax.random.uniform(one, (width + 1, following), minval=-bound, maxval=bound)
        weights.append({"weight": drawn[:-1], "bias": drawn[-1]})
    moments: list[Tree] = []
    if workload.batch_norm:
        for layer, (_, width) in zip(weights[:-1], shapes[:-1], strict=True):
            layer |= {"scale": jnp.ones(width), "shift": jnp.zeros(width)}
            moments.append({"mean": jnp.zeros(width), "variance": jnp.ones(width)})
    return weights, moments


def _updated(workload: Workload, state: Tree, batch: jax.Array, labels: jax.Array) -> Tree:
    def loss(weights: Tree, moments: Tree) -> tuple[jax.Array, Tree]:
        logits, changed = (_cnn if workload.is_cnn else _mlp)(weights, moments, batch)
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)
        return -chosen.mean(), changed

    gradients, moments = jax.grad(loss, has_aux=True)(*state)
    return jax.tree.map(lambda value, gradient: value - LEARNING_RATE * gradient, state[0], gradients), moments


def _mlp(weights: Tree, moments: Tree, batch: jax.Array) -> tuple[jax.Array, Tree]:
    changed: list[Tree] = []
    for index, layer in enumerate(weights[:-1]):
        batch = batch @ layer["weight"] + layer["bias"]
        if moments:
            mean, variance = batch.mean(0), batch.var(0)
            unbiased = variance * (len(batch) / (len(batch) - 1))
            kept = {"mean": mean, "variance": unbiased}
            changed.append(jax.tree.map(lambda old, new: old + MOMENTUM * (new - old), moments[index], kept))
            batch = (batch - mean) * lax.rsqrt(variance + EPSILON) * layer["scale"] + layer["shift"]
        batch = jax.nn.relu(batch)
    return batch @ weights[-1]["weight"] + weights[-1]["bias"], changed


def _cnn(weights: Tree, moments: Tree, batch: jax.Array) -> tuple[jax.Array, Tree]:
    images = batch.reshape(-1, SIDE, SIDE, 1)
    for layer in weights[:-1]:
        kernel = layer["weight"].reshape(3, 3, images.shape[-1], -1)
        images = lax.conv_general_dilated(images, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        images = jax.nn.relu(images + layer["bias"])
        images = lax.reduce_window(images, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return images.reshape(len(images), -1) @ weights[-1]["weight"] + weights[-1]["bias"], moments


if __name__ == "__main__":
    answer({"JAX scan(vmap)": prepare}, ("jax", "jaxlib"))
