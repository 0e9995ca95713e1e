"""Timings of critbatch and its peers, side by side: see README.md. No part of the package."""
