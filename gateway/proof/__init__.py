"""What anyone can recompute: the log of an experiment, and whether it proves the decision."""
