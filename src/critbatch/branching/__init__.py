"""Branched training: the critical batch size at one point of a training, from a checkpoint."""

from .branch import branch as branch
from .loop import BranchLoop as BranchLoop
from .loop import Indexed as Indexed
from .outcome import Branch as Branch
from .outcome import BranchStudy as BranchStudy
from .protocol import Branchable as Branchable
