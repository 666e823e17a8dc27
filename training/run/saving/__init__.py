"""Checkpoints, and what they hold."""
