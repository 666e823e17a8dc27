"""The token grid and its two file forms. `FORMAT.md` specifies both. This package imports without torch."""

from cvivit.tokens.grid import TokenGrid

__all__ = ["TokenGrid"]
