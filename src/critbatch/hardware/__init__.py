"""Step time and memory against batch size on one device."""
