"""Orders of visiting the training examples."""
