"""What the engine's tests begin with."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from critbatch.engine import choice, population
from critbatch.engine.native import build


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Yield an empty cache folder, and forget what this process knows: as if critbatch had just been installed."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("CRITBATCH_CACHE", str(folder))
    monkeypatch.setattr(choice, "_chosen", {})
    monkeypatch.setattr(population, "_said", set())
    build.compiler.cache_clear()
    yield folder
    monkeypatch.undo()  # of the test's own changes too: the next one shall find its compiler
    build.compiler.cache_clear()
