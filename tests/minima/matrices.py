"""Matrices with known spectra, and the Hessian of a model's loss by torch's own dense derivative."""

import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel


class Dense:
    """A matrix that is there, as something that is known by its products."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix, self.products = matrix, 0

    @property
    def size(self) -> int:
        return len(self.matrix)

    def __matmul__(self, vector: torch.Tensor) -> torch.Tensor:
        self.products += 1
        return self.matrix @ vector.to(self.matrix)


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def turned(values: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """Return a symmetric matrix with these eigenvalues and random eigenvectors."""
    basis = torch.linalg.qr(torch.randn(len(values), len(values), generator=draws(seed), dtype=torch.float64)).Q
    return (basis * values.double()) @ basis.T


def dense_hessian(model: nn.Module, losses, inputs, targets, l2: float = 0.0) -> torch.Tensor:
    """Return the Hessian of mean loss + l2/2 |w|^2 in the trained parameters, for a model in the mode that it is in."""
    trained = {name: one.detach() for name, one in model.named_parameters() if one.requires_grad}

    def objective(flat: torch.Tensor) -> torch.Tensor:
        named, at = {}, 0
        for name, one in trained.items():
            named[name] = flat[at : at + one.numel()].reshape(one.shape)
            at += one.numel()
        with sdpa_kernel(SDPBackend.MATH):
            return losses(functional_call(model, named, (inputs,)), targets).mean() + l2 / 2 * flat @ flat

    point = torch.cat([one.flatten() for one in trained.values()])
    return torch.autograd.functional.hessian(objective, point)
