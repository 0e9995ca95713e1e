"""Learning rates over batch sizes."""
