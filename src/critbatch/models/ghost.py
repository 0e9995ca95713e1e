"""Batch normalisation over groups of fixed size, whatever the batch."""

from torch import Tensor, nn
from torch.nn import functional


class GhostBatchNorm(nn.BatchNorm1d):
    """BatchNorm in which each stretch of `ghost_size` examples of a batch is normalised by itself.

    In train mode the objective then depends on the ghost size instead of the batch size. A batch that `ghost_size` does
    not divide, or a smaller one, is normalised as a whole. Running statistics move by the mean over the groups.

    Source: Hoffer, Hubara and Soudry (2017), arXiv:1705.08741, Algorithm 1.

    Args:
        num_features: Features of each example.
        ghost_size: Examples in a group.
    """

    def __init__(self, num_features: int, ghost_size: int) -> None:
        super().__init__(num_features)
        self.ghost_size = ghost_size

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  torch's name
        """Return the normalised batch, shape (example, feature)."""
        count, features = input.shape
        groups = count // self.ghost_size
        if not self.training or groups < 2 or count % self.ghost_size:
            return super().forward(input)
        # (example of the group, group x feature): to batch_norm every feature of every group is a feature of its own
        apart = input.view(groups, self.ghost_size, features).transpose(0, 1).reshape(self.ghost_size, -1)
        mean, variance = self.running_mean.repeat(groups), self.running_var.repeat(groups)
        found = functional.batch_norm(
            apart, mean, variance, self.weight.repeat(groups), self.bias.repeat(groups), training=True,
            momentum=self.momentum, eps=self.eps,
        )  # fmt: skip
        self.running_mean.copy_(mean.view(groups, features).mean(0).detach())
        self.running_var.copy_(variance.view(groups, features).mean(0).detach())
        self.num_batches_tracked.add_(1)
        return found.view(self.ghost_size, groups, features).transpose(0, 1).reshape(count, features)
