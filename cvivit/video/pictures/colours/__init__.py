"""Colours: matrix and range, and light where they are not enough."""
