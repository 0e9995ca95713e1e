"""What this machine offers: versions, device, store, data."""

import os
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from .datasets.location import VARIABLE
from .study import describe_device, versions


def checks() -> list[dict[str, Any]]:
    """Return one entry for each thing looked at: name, ok, optional (a NOT is no fault) and what it says."""
    return [
        _check("versions", True, ", ".join(f"{name} {number}" for name, number in versions().items())),
        _check("python", sys.version_info >= (3, 11), f"{sys.version.split()[0]} (3.11 or newer is needed)"),
        _check("device", True, _device()),
        _check("threads", True, f"{os.cpu_count()} cores; a sweep uses one process of one thread for each"),
        _writable(),
        _check("sqlite", True, f"SQLite {sqlite3.sqlite_version}"),
        _data(),
    ]


def _check(name: str, ok: bool, says: str, *, optional: bool = False) -> dict[str, Any]:
    return {"name": name, "ok": ok, "says": says, "optional": optional}


def _device() -> str:
    return describe_device("cuda" if torch.cuda.is_available() else "cpu")


def _writable() -> dict[str, Any]:
    folder = Path.cwd()
    try:
        with tempfile.TemporaryFile(dir=folder):
            return _check("folder", True, f"results can be written to {folder}")
    except OSError as error:
        return _check("folder", False, f"{folder} cannot be written to ({error.strerror}); use --out")


def _data() -> dict[str, Any]:
    folder = os.environ.get(VARIABLE)
    if not folder:
        return _check("data", False, f"{VARIABLE} is not set: only scikit-learn's data sets are there", optional=True)
    if not Path(folder).is_dir():
        return _check("data", False, f"{VARIABLE} is {folder}, which is no folder", optional=True)
    return _check("data", True, f"{VARIABLE} is {folder} ({', '.join(sorted(os.listdir(folder)))})", optional=True)
