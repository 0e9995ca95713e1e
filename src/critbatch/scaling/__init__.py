"""Hyperparameters at another batch size: what changes, by which formula, on whose word, and what is lost."""

from .study import read_study as read_study
from .translate import scale_hyperparameters as scale_hyperparameters
from .translation import Change as Change
from .translation import Translation as Translation
