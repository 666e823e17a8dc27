"""Containers: which are read, whether a file is whole, and which of its tracks is the video."""
