"""What a folder of checkpoints holds: files, parameters, statistics, drift, health."""
