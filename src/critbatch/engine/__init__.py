"""How cohorts of runs are trained."""
