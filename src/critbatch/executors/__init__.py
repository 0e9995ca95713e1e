"""Implementations of `critbatch.executor.Executor`, one a file."""
