"""The data folder: the one place that knows where files are looked for."""

import os
from pathlib import Path

VARIABLE = "CRITBATCH_DATA"


def locate(*candidates: str) -> Path:
    """Return the first of `candidates` that exists below the folder named by the variable CRITBATCH_DATA.

    Args:
        candidates: Paths relative to the data folder, the usual one first; the rest are other layouts of the same file.

    Raises:
        ValueError: If the variable is not set.
        FileNotFoundError: If no candidate is there. The message names every path that was looked for.
    """
    advice = f"Set {VARIABLE} to a folder that holds {' or '.join(candidates)}. Nothing is downloaded for you."
    folder = os.environ.get(VARIABLE)
    if not folder:
        raise ValueError(f"{VARIABLE} is not set, and this data set is read from files. {advice}")
    paths = [Path(folder).expanduser() / candidate for candidate in candidates]
    for path in paths:
        if path.exists():
            return path
    raise FileNotFoundError(f"There is no {' nor '.join(str(path) for path in paths)}. {advice}")
