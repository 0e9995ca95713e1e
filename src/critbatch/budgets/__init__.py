"""What can be held equal across batch sizes."""
