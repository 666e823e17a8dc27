"""The frame rates that configs, token grids and videos may state, in frames a second."""

from __future__ import annotations

from typing import Final

MIN_FPS: Final = 0.01
MAX_FPS: Final = 1000.0
