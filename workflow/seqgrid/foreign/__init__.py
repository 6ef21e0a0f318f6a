"""Studies that seqgrid did not run: their tables, read with a mapping file."""
