"""critbatch: how the batch size affects SGD on your model and data, why, and which one to use.

    import critbatch as cb

    result = cb.run(task)
    result.recommendation

Names are imported when they are first used, so that `import critbatch` is quick and needs no PyTorch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis.logged import fit_steps_to_target as fit_steps_to_target
    from .batch_policies.adascale import AdaScale as AdaScale
    from .batch_policies.cabs import CABS as CABS
    from .batch_policies.instead_of_decay import InsteadOfDecay as InsteadOfDecay
    from .batch_policies.noise_controlled import NoiseControlled as NoiseControlled
    from .batch_policies.norm_test import NormTest as NormTest
    from .batch_policies.ramp import Ramp as Ramp
    from .batch_policies.seesaw import Seesaw as Seesaw
    from .batch_policies.step_decay import StepDecay as StepDecay
    from .batching import BatchSizeScheduler as BatchSizeScheduler
    from .batching import VariableBatchSampler as VariableBatchSampler
    from .branching import BranchLoop as BranchLoop
    from .branching import branch as branch
    from .budgets.epochs import Epochs as Epochs
    from .budgets.examples import Examples as Examples
    from .budgets.longest import Longest as Longest
    from .budgets.seconds import Seconds as Seconds
    from .budgets.steps import Steps as Steps
    from .data import Stream as Stream
    from .effective_batch import EffectiveBatch as EffectiveBatch
    from .estimate import Estimate as Estimate
    from .executors.processes import Processes as Processes
    from .executors.serial import Serial as Serial
    from .job import Result as Result
    from .job import fit as fit
    from .job import probe as probe
    from .job import reread as reread
    from .job import run as run
    from .measurements.noise_moments import NoiseMoments as NoiseMoments
    from .measuring import measure as measure
    from .models.ghost import GhostBatchNorm as GhostBatchNorm
    from .models.ghost import ghost_batchnorm as ghost_batchnorm
    from .monitor import GradientNoiseMonitor as GradientNoiseMonitor
    from .noise import noise_moments as noise_moments
    from .noise import noise_scale as noise_scale
    from .noise_study import measure_noise as measure_noise
    from .objective import Metric as Metric
    from .optimizers.adam import Adam as Adam
    from .optimizers.adamw import AdamW as AdamW
    from .optimizers.sgd import SGD as SGD
    from .plan import sweep as sweep
    from .samplings.reshuffle import Reshuffle as Reshuffle
    from .samplings.steered import Steered as Steered
    from .scaling import scale_hyperparameters as scale_hyperparameters
    from .stores.memory import Memory as Memory
    from .stores.sql import Sql as Sql
    from .task import Target as Target
    from .task import Task as Task

_PLACES = {
    "AdaScale": "batch_policies.adascale",
    "Adam": "optimizers.adam",
    "AdamW": "optimizers.adamw",
    "BatchSizeScheduler": "batching",
    "BranchLoop": "branching",
    "CABS": "batch_policies.cabs",
    "EffectiveBatch": "effective_batch",
    "Epochs": "budgets.epochs",
    "Estimate": "estimate",
    "Examples": "budgets.examples",
    "GhostBatchNorm": "models.ghost",
    "GradientNoiseMonitor": "monitor",
    "InsteadOfDecay": "batch_policies.instead_of_decay",
    "Longest": "budgets.longest",
    "Memory": "stores.memory",
    "Metric": "objective",
    "NoiseControlled": "batch_policies.noise_controlled",
    "NoiseMoments": "measurements.noise_moments",
    "NormTest": "batch_policies.norm_test",
    "Processes": "executors.processes",
    "Ramp": "batch_policies.ramp",
    "Reshuffle": "samplings.reshuffle",
    "Result": "job",
    "SGD": "optimizers.sgd",
    "Seconds": "budgets.seconds",
    "Seesaw": "batch_policies.seesaw",
    "Serial": "executors.serial",
    "Sql": "stores.sql",
    "Steered": "samplings.steered",
    "StepDecay": "batch_policies.step_decay",
    "Steps": "budgets.steps",
    "Stream": "data",
    "Target": "task",
    "Task": "task",
    "VariableBatchSampler": "batching",
    "branch": "branching",
    "fit": "job",
    "fit_steps_to_target": "analysis.logged",
    "ghost_batchnorm": "models.ghost",
    "measure": "measuring",
    "measure_noise": "noise_study",
    "noise_moments": "noise",
    "noise_scale": "noise",
    "probe": "job",
    "reread": "job",
    "run": "job",
    "scale_hyperparameters": "scaling",
    "sweep": "plan",
}

__all__ = sorted(_PLACES)  # pyrefly: ignore


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'critbatch' has no attribute {name!r}. It has: {', '.join(sorted(_PLACES))}.")
    return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(_PLACES)
