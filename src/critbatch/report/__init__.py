"""One self-contained page from a result."""

from .page import render, write

__all__ = ["render", "write"]
