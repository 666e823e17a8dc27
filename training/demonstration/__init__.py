"""The run behind the weights that ship with the package: how to repeat it, and what it logged."""
