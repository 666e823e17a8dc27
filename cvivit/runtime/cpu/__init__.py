"""The runner for CPUs: packed weights, and one clip per core."""
