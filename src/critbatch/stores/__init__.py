"""Implementations of `critbatch.store.Store`, one a file."""
