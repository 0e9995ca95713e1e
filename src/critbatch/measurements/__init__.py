"""Numbers taken while a run trains."""
