"""What runs the network fast on one device: runners, precision, memory and forking."""
