"""What can be made again but takes time: kept on disk between commands, and safe to delete."""

import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE = "CRITBATCH_CACHE"


def cache_folder() -> Path:
    """Return the folder that CRITBATCH_CACHE names, or the user's cache folder. It may be deleted at any time."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "critbatch"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "critbatch"


def recall(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was remembered about these facts (versions among them); empty if nothing was."""
    try:
        found = json.loads(_place(about).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def remember(about: Mapping[str, Any], what: Mapping[str, Any]) -> None:
    """Keep `what` about these facts; a folder that cannot be written to is no error."""
    place = _place(about)
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=place.parent, delete=False) as file:
            json.dump(dict(what), file)
        Path(file.name).replace(place)
    except OSError:
        return


def _place(about: Mapping[str, Any]) -> Path:
    text = json.dumps(about, sort_keys=True)
    return cache_folder() / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.json"
