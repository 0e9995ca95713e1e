"""A cohort on the CPU: each replica's steps are taken by the same compiled program, one replica after another."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn
from typing_extensions import override

from ...data import Examples
from ...randomness import seed_of
from ..replicas import Block, Replicas
from ..step import Step
from .steps import CompiledLook, CompiledStep, CompiledSums


@final
class CompiledReplicas(Replicas):
    """Replicas whose numbers do not depend on the cohort, bit for bit: they never meet.

    Args:
        step: Gives the structure of the model.
        models: Freshly initialised, one for each run.
        seeds: Of the runs; each has its own stream for dropout.
        programs: A compiled step for each batch size that occurs.
        look: The compiled evaluation, if there is one.
        sums: The compiled sums of gradients, if there are any.
    """

    def __init__(
        self, step: Step, models: Sequence[nn.Module], seeds: Sequence[int], programs: Mapping[int, CompiledStep],
        look: CompiledLook | None, sums: CompiledSums | None,
    ) -> None:  # fmt: skip
        self._step = step
        self._states = [step.start(model) for model in models]
        self._draws = [torch.Generator().manual_seed(seed_of(seed, "forward")) for seed in seeds]
        self._seeds = list(seeds)
        self._programs = programs
        self._look = look
        self._sums = sums

    @override
    def advance(self, active: Sequence[int], block: Block) -> list[Tensor]:
        losses = []
        for replica, coefficients in zip(active, block.coefficients, strict=True):
            seed = self._seeds[replica]
            index = block.index[seed]
            program = self._programs[index.shape[1]]
            state, draw = self._states[replica], self._draws[replica]
            losses.append(program.advance(state, block.data[seed], index, coefficients, draw))
        return losses

    @override
    def module(self, replica: int) -> nn.Module:
        self._step.finish(self._states[replica], self._step.model)
        return self._step.model

    @override
    def means(self, replica: int, part: Examples) -> tuple[float, float] | None:
        return None if self._look is None else self._look.means(self._states[replica], part)

    @override
    def gradient_sums(self, replica: int, inputs: Tensor, targets: Tensor) -> tuple[Tensor, float] | None:
        return None if self._sums is None else self._sums.sums(self._states[replica], inputs, targets)
