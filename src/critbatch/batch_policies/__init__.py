"""Batch sizes that change while a run trains."""
