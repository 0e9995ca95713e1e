"""Data sets: functions that return tensors. Nothing here knows a model, and nothing is ever downloaded."""
