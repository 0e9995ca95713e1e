"""Where compiled steps and decisions are kept between commands."""

import functools
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
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
    """Return what was remembered about these facts with these versions; empty if nothing was."""
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
    text = json.dumps([about, _versions()], sort_keys=True)
    return cache_folder() / f"{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.json"


@functools.cache
def _versions() -> dict[str, str]:
    # the engine's own text is a version too: a changed generator has to be checked again
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(Path(__file__).parent.rglob("*.[cp]*")):
        if path.suffix in (".py", ".c"):
            digest.update(path.read_bytes())
    return {"torch": version("torch"), "engine": digest.hexdigest()}
