"""Optimizers, learning rates, averaged weights and codebook updates."""
