"""Several models together, not compiled: vmap of grad over stacked parameters, as the torch.func tutorial has it."""

import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from ..answering import Trial, answer, best_together, timed
from ..workloads import Workload, blocks
from .torch_models import LEARNING_RATE, data, model

MODELS = (4, 16, 64)
STEPS_A_BLOCK = 64
State = dict[str, Tensor]


def prepare(workload: Workload, batch_size: int) -> Trial:
    """Return a training of as many models together as is fastest for each model."""
    return best_together(MODELS, partial(_together, workload, batch_size))


def _together(workload: Workload, batch_size: int, models: int) -> Trial:
    inputs, targets = data(workload)
    nets = [model(workload) for _ in range(models)]
    parameters, buffers = stack_module_state(nets)
    parameters = {name: value.detach() for name, value in parameters.items()}
    steps = _steps(workload, batch_size, models)

    def loss(weights: State, kept: State, batch: Tensor, labels: Tensor) -> tuple[Tensor, State]:
        changed = {name: value.clone() for name, value in kept.items()}
        return cross_entropy(functional_call(nets[0], (weights, changed), (batch,)), labels), changed

    gradients = vmap(grad(loss, has_aux=True))

    def advance(updates: int) -> int:
        nonlocal buffers
        count = math.ceil(updates / models)
        for chosen in islice(steps, count):
            found, buffers = gradients(parameters, buffers, inputs[chosen], targets[chosen])
            for name, value in parameters.items():
                value.sub_(found[name], alpha=LEARNING_RATE)
        return count * models

    return Trial(timed(advance), f"M={models}")


def _steps(workload: Workload, batch_size: int, models: int) -> Iterator[Tensor]:
    """Yield the indices of each step: (model, example)."""
    streams = [blocks(workload.examples, batch_size, STEPS_A_BLOCK, seed) for seed in range(models)]
    while True:
        yield from torch.from_numpy(np.stack([next(stream) for stream in streams], axis=1)).unbind()


if __name__ == "__main__":
    answer({"eager vmap": prepare}, ("torch",))
