"""Measure weights on clips: `python -m training evaluate`."""
