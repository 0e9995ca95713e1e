"""The compiled engine: a training step traced once, written out as plain C, and run for many steps and replicas."""
