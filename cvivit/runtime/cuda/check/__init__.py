"""The check of a machine with a GPU: whether all runs and agrees, how fast, and where the time goes."""
