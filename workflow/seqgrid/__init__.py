"""Grids of sequence models on tasks that probe memory and state."""
