"""The instrument held to known truths: `critbatch calibrate`."""

from .check import Check, Scale
from .instrument import Instrument
from .run import calibrate

__all__ = ["Check", "Instrument", "Scale", "calibrate"]
