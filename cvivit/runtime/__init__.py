"""Everything that makes the network run fast on one device: runners, precision, memory and fork support."""
