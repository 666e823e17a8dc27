"""The token grid and its two file forms, which FORMAT.md specifies. This package imports without torch."""

from cvivit.tokens.grid import TokenGrid

__all__ = ["TokenGrid"]
