"""Where a live monitor's numbers go: one file for each tool, which it alone imports."""
