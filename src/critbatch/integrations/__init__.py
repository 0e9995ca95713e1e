"""The live monitor in other people's training loops: one file for each framework, which it alone imports."""
