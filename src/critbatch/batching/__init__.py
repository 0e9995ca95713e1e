"""Batches for a `DataLoader` whose size changes while training goes on."""

from .sampler import VariableBatchSampler as VariableBatchSampler
from .scheduler import BatchSizeScheduler as BatchSizeScheduler
