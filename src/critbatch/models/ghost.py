"""Batch normalisation over groups of fixed size, whatever the batch."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

CONVERTED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class GhostBatchNorm(_BatchNorm):
    """BatchNorm in which each stretch of `ghost_size` examples of a batch is normalised by itself.

    In train mode the objective then depends on the ghost size instead of the batch size. A batch that `ghost_size` does
    not divide, or a smaller one, is normalised as a whole. Running statistics move once a batch, by the mean over the
    groups. Inputs may have any number of axes after the features, as those of BatchNorm1d, 2d and 3d have.

    Source: Hoffer, Hubara and Soudry (2017), arXiv:1705.08741, Algorithm 1.

    Args:
        num_features: Features of each example.
        ghost_size: Examples in a group, at least 2.
        eps: Added to the variance.
        momentum: Share by which running statistics move; None: their mean over all batches.
        affine: Whether there are a weight and a bias.
        track_running_stats: Without, evaluation normalises by the batch too.
        device: Of the parameters.
        dtype: Likewise.

    Raises:
        ValueError: If a group would have no variance.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self, num_features: int, ghost_size: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
        track_running_stats: bool = True, device: torch.device | str | None = None, dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        if ghost_size < 2:
            raise ValueError(
                f"`GhostBatchNorm(ghost_size={ghost_size})`: a group needs two examples for a variance. Use 2 or more."
            )
        _BatchNorm.__init__(self, num_features, eps, momentum, affine, track_running_stats, device=device, dtype=dtype)
        self.ghost_size = ghost_size

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"`GhostBatchNorm`: needs (example, feature, ...), got the shape {tuple(input.shape)}.")

    def extra_repr(self) -> str:
        """Return what the layer's name does not say; part of a task's fingerprint."""
        return f"{_BatchNorm.extra_repr(self)}, ghost_size={self.ghost_size}"

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised batch, of the same shape: (example, feature, ...)."""
        self._check_input_dim(input)
        count, *rest = input.shape
        groups = count // self.ghost_size
        by_batch = self.training or self.running_mean is None
        if not by_batch or groups < 2 or count % self.ghost_size:
            return _BatchNorm.forward(self, input)
        # Written out, since the engine compiles these operations and not one that repeats parameters for each group.
        apart = input.reshape(groups, self.ghost_size, *rest)
        within = (1, *range(3, apart.dim()))
        variance, mean = torch.var_mean(apart, dim=within, correction=0, keepdim=True)
        if self.training and self.running_mean is not None:
            others = (0, *within)
            values = count // groups * (input[0, 0].numel() if rest[1:] else 1)
            self._remember(mean.detach().mean(others), variance.detach().mean(others), values)
        found = (apart - mean) * (variance + self.eps).rsqrt()
        if self.affine:
            found = found * self._along(self.weight, rest) + self._along(self.bias, rest)
        return found.reshape(count, *rest)

    def _along(self, parameter: Tensor, rest: list[int]) -> Tensor:
        return parameter.view(-1, *[1] * (len(rest) - 1)) if rest[1:] else parameter

    def _remember(self, mean: Tensor, variance: Tensor, values: int) -> None:
        """Move the running statistics; the running variance is unbiased, as torch's: each is of `values` numbers."""
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for kept, new in ((self.running_mean, mean), (self.running_var, variance * (values / (values - 1)))):
            assert kept is not None
            kept.mul_(1 - share).add_(share * new)


def ghost_batchnorm(model: nn.Module, ghost_size: int) -> nn.Module:
    """Return a copy of `model` in which every BatchNorm normalises groups of `ghost_size` examples.

    Parameters, running statistics, options and train or eval mode are kept; `model` stays as it is. Make the optimizer
    over the copy's parameters.

    Args:
        model: With BatchNorm1d, 2d or 3d layers at any depth.
        ghost_size: Examples in a group, at least 2.

    Raises:
        ValueError: If the model has no BatchNorm, or one that is synchronised over processes or not built yet.
    """
    other = [
        name
        for name, one in model.named_modules()
        if isinstance(one, (nn.SyncBatchNorm, nn.modules.lazy.LazyModuleMixin)) and isinstance(one, _BatchNorm)
    ]
    if other:
        raise ValueError(
            f"`ghost_batchnorm(model)`: {', '.join(other)}: SyncBatchNorm and lazy layers cannot be converted. Convert before "
            "synchronising, and after a first batch has given lazy layers their shapes."
        )
    found = copy.deepcopy(model)
    kinds = [one for one in found.modules() if isinstance(one, _BatchNorm) and type(one) in CONVERTED]
    if not kinds:
        raise ValueError(
            "`ghost_batchnorm(model)`: the model has no BatchNorm1d, 2d or 3d, so that nothing need be done."
        )
    made: dict[nn.Module, GhostBatchNorm] = {one: _converted(one, ghost_size) for one in kinds}
    for parent in list(found.modules()):
        for name, child in list(parent.named_children()):
            if child in made:
                setattr(parent, name, made[child])
    return made.get(found, found)


def _converted(layer: _BatchNorm, ghost_size: int) -> GhostBatchNorm:
    ghost = GhostBatchNorm(
        layer.num_features, ghost_size, layer.eps, layer.momentum, layer.affine, layer.track_running_stats
    )
    for name, parameter in list(layer.named_parameters(recurse=False)):
        ghost.register_parameter(name, parameter)
    for name, buffer in list(layer.named_buffers(recurse=False)):
        ghost.register_buffer(name, buffer)
    return ghost.train(layer.training)
