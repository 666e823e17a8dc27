"""Benchmarks of the service over HTTP: `python -m service bench load | mixed | soak`."""

from service.bench.cli import main

__all__ = ["main"]
