"""Write stills and moving pictures, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from PIL import Image

from cvivit.files import replacing

STILLS: Final = {".png": "PNG", ".webp": "WEBP"}
"""Pillow's names of the forms of stills, by suffix."""


def save_still(image: Image.Image, path: Path) -> None:
    """Write a still in the form that the suffix names, without loss.

    Raises:
        OSError: it cannot be written. What was at the path before is unchanged.
        ValueError: the picture is larger than the form allows.
    """
    with replacing(path) as file:
        image.save(file, STILLS[path.suffix.lower()], lossless=True)
