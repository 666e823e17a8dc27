"""The runner for CPUs: packed weights, and one clip per group of cores."""
