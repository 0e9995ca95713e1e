"""Pure functions of arrays: intervals, crossings, selection. None knows what a batch is."""
