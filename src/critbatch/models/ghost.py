"""Batch normalisation over groups of fixed size, whatever the batch."""

import torch
from torch import Tensor, nn


class GhostBatchNorm(nn.BatchNorm1d):
    """BatchNorm in which each stretch of `ghost_size` examples of a batch is normalised by itself.

    In train mode the objective then depends on the ghost size instead of the batch size. A batch that `ghost_size` does
    not divide, or a smaller one, is normalised as a whole. Running statistics move by the mean over the groups.

    Source: Hoffer, Hubara and Soudry (2017), arXiv:1705.08741, Algorithm 1.

    Args:
        num_features: Features of each example.
        ghost_size: Examples in a group, at least 2.

    Raises:
        ValueError: If a group would have no variance.
    """

    def __init__(self, num_features: int, ghost_size: int) -> None:
        if ghost_size < 2:
            raise ValueError(
                f"`GhostBatchNorm(ghost_size={ghost_size})`: a group needs two examples for a variance. Use 2 or more."
            )
        super().__init__(num_features)
        self.ghost_size = ghost_size

    def extra_repr(self) -> str:
        """Return what the layer's name does not say; part of a task's fingerprint."""
        return f"{super().extra_repr()}, ghost_size={self.ghost_size}"

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised batch, shape (example, feature)."""
        count, features = input.shape
        groups = count // self.ghost_size
        if not self.training or groups < 2 or count % self.ghost_size:
            return super().forward(input)
        # Written out, since the engine compiles these operations and not one that repeats parameters for each group.
        apart = input.view(groups, self.ghost_size, features)
        variance, mean = torch.var_mean(apart, dim=1, correction=0, keepdim=True)
        self._remember(mean.detach().mean((0, 1)), variance.detach().mean((0, 1)))
        found = (apart - mean) * (variance + self.eps).rsqrt() * self.weight + self.bias
        return found.view(count, features)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; the running variance is unbiased, as torch's."""
        share, unbiased = self.momentum, variance * (self.ghost_size / (self.ghost_size - 1))
        assert share is not None
        for kept, new in ((self.running_mean, mean), (self.running_var, unbiased)):
            assert kept is not None
            kept.mul_(1 - share).add_(share * new)
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
