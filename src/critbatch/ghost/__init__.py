"""Norms of single examples' gradients from an ordinary backward pass ("ghost norms"), without the gradients."""

from .recorder import Guard as Guard
from .recorder import Norms as Norms
from .recorder import Recorder as Recorder
from .recorder import Weights as Weights
from .use import leaves_of as leaves_of
