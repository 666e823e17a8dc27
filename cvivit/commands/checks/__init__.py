"""Commands that check a machine, and the network on it: speed, agreement, and the check of a GPU."""
