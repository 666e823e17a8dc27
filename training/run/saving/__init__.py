"""Checkpoints, the state that they hold, and the weights that a new run starts from."""
