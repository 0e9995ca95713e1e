"""Formulas for steps to target against batch size."""
