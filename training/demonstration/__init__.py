"""The run that made the weights of the package: its log, and how to repeat it."""
