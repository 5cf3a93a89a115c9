"""What outlives a process: run directories, checkpoints, metrics and labels; atomic writes only."""
