"""Measuring weights on clips: `python -m training evaluate`."""
