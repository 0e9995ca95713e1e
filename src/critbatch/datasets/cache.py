"""Arrays that take a while to compute, kept in the cache folder of the platform."""

import contextlib
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np


def cache_folder() -> Path:
    """Return where critbatch keeps what it can compute again: XDG_CACHE_HOME, or the usual place of the platform."""
    if chosen := os.environ.get("XDG_CACHE_HOME"):
        return Path(chosen) / "critbatch"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "critbatch" / "Cache"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "critbatch"


def cached(key: str, compute: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return `compute()`, from disk where it was computed before under the same key.

    Files are written whole or not at all, and are never unpickled. A damaged file is computed again and a folder that
    cannot be written only costs time, so that neither is an error.

    Args:
        key: Names everything that the arrays depend on: source file, version of the code. It becomes a file name.
        compute: Makes the arrays.

    Returns:
        Arrays by name.
    """
    path = cache_folder() / f"{key}.npz"
    with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile):
        return _read(path)
    arrays = compute()
    with contextlib.suppress(OSError):
        _write(path, arrays)
    return arrays


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        try:
            np.savez(file, allow_pickle=False, **arrays)
            file.close()
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise
