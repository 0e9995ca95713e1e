"""Where compiled steps and decisions are kept between commands."""

import os
import sys
from pathlib import Path

VARIABLE = "CRITBATCH_CACHE"


def cache_folder() -> Path:
    """Return the folder that CRITBATCH_CACHE names, or the user's cache folder. It may be deleted at any time."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "critbatch"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "critbatch"
