"""The gradient noise of a live training, measured from inside it."""

from .history import Measured as Measured
from .history import Reading as Reading
from .live import GradientNoiseMonitor as GradientNoiseMonitor
from .window import REDUCTIONS as REDUCTIONS
