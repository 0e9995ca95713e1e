"""The preconditioner of Adam-like optimizers, as their last step left it."""

from typing import Any

from torch import Tensor, nn

from .ranks import local


def running_squares(optimizer: Any, parameter: nn.Parameter) -> Tensor | None:
    """Return the running mean of squared gradients that divides an update, None where the optimizer keeps none."""
    state = optimizer.state.get(parameter, {})
    return state.get("max_exp_avg_sq", state.get("exp_avg_sq"))


def precision(optimizer: Any, parameter: nn.Parameter) -> Tensor | None:
    """Return P^-2 of each coordinate, P = sqrt(v/(1 - beta2^t)) + epsilon: from before the next batch is seen.

    Source: Kingma and Ba (2015), arXiv:1412.6980, Algorithm 1, without the first moment.

    Args:
        optimizer: Adam, AdamW, or anything that keeps `state` and `param_groups` by their names.
        parameter: One of its parameters; of a sharded one the part that this process holds.

    Returns:
        In the shape of the parameter, 1/(loss per unit of parameter) squared; None for other optimizers.
    """
    squares = running_squares(optimizer, parameter)
    if squares is None:
        return None
    settings = next(g for g in optimizer.param_groups if any(one is parameter for one in g["params"]))
    correction = 1 - settings["betas"][1] ** float(optimizer.state[parameter]["step"])
    return ((local(squares) / correction).sqrt() + settings["eps"]).square().reciprocal()
