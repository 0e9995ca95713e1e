"""The batch that was asked for, whatever fits into memory."""

from ..out_of_memory import OutOfMemory as OutOfMemory
from .batch import EffectiveBatch as EffectiveBatch
from .coupling import Coupling as Coupling
