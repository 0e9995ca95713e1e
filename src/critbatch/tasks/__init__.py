"""Tasks that come with critbatch: one file each, with a function `task` that makes it. Importing reads no data."""
