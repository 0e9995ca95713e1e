"""critbatch: how the batch size affects SGD on your model and data, why, and which one to use."""
