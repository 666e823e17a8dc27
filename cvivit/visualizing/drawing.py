"""Panels, labels and text, on Pillow."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cvivit.visualizing.colours import Colour, Theme

MARGIN: Final = 14
"""Pixels around and between panels."""
TEXT: Final = 15
SMALL: Final = 12
TITLE: Final = 20
"""Heights of letters in pixels."""
LINE: Final = 1.5
"""Height of a line, in heights of letters."""
_ELLIPSIS: Final = "..."


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return the font that comes with Pillow."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Return how many pixels a text is wide."""
    return round(font(size).getlength(text))


@lru_cache(maxsize=1024)
def shortened(text: str, width: int, size: int) -> str:
    """Return a text that is at most `width` pixels wide: its end is kept, since names differ there."""
    if len(text) <= width and text_width(text, size) <= width:
        return text
    ends = [text[start:] for start in range(max(0, len(text) - width), len(text))]
    fits = bisect_left(ends, True, key=lambda end: text_width(_ELLIPSIS + end, size) <= width)
    return _ELLIPSIS + (ends[fits] if fits < len(ends) else "")


def wrapped(text: str, width: int, size: int) -> list[str]:
    """Break a text into lines that are at most `width` pixels wide, as far as its words allow."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def blank(width: int, height: int, theme: Theme) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    """Return an empty picture and a pen for it."""
    image = Image.new("RGB", (width, height), theme.back)
    return image, ImageDraw.Draw(image)


def write(
    pen: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    colour: Colour,
    *,
    size: int = TEXT,
    anchor: str = "la",
) -> None:
    """Write one line of text. The anchor is Pillow's: "la" has its left top at the place."""
    pen.text(place, text, fill=colour, font=font(size), anchor=anchor)


def enlarged(picture: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a picture (h w 3) at (height, width), in blocks: a pixel stays a square with sharp edges."""
    height, width = picture.shape[:2]
    if size[0] % height == 0 and size[1] % width == 0:
        return np.repeat(np.repeat(picture, size[0] // height, axis=0), size[1] // width, axis=1)
    resized = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.NEAREST)
    return np.asarray(resized)


class PanelRow:
    """Pictures of one size in a row, each with a label above it, and a caption below: drawn many times.

    Args:
        labels: what stands above each panel.
        size: height and width of a panel in pixels.
        theme: the colours.
    """

    def __init__(self, labels: Sequence[str], size: tuple[int, int], theme: Theme) -> None:
        self._theme = theme
        self._size = height, width = size
        self._top = MARGIN + round(TEXT * LINE)
        # An even size, so that a video of it needs no further row or column.
        whole = MARGIN + len(labels) * (width + MARGIN)
        self.width = whole + whole % 2
        tall = self._top + height + MARGIN // 2 + round(TEXT * LINE) + MARGIN // 2
        self.height = tall + tall % 2
        self._lefts = [MARGIN + index * (width + MARGIN) for index in range(len(labels))]
        self._base, pen = blank(self.width, self.height, theme)
        for left, label in zip(self._lefts, labels, strict=True):
            write(pen, (left, MARGIN), shortened(label, width, TEXT), theme.text)

    def draw(self, panels: Sequence[np.ndarray], caption: str, note: str = "") -> np.ndarray:
        """Return the row with these pictures (h w 3), uint8 (height width 3). `note` stands at the right."""
        image = self._base.copy()
        for left, panel in zip(self._lefts, panels, strict=True):
            image.paste(Image.fromarray(enlarged(panel, self._size)), (left, self._top))
        pen, bottom = ImageDraw.Draw(image), self._top + self._size[0] + MARGIN // 2
        room = self.width - 2 * MARGIN
        if note:
            write(pen, (self.width - MARGIN, bottom), note, self._theme.faint, anchor="ra")
            room -= text_width(note, TEXT) + MARGIN
        write(pen, (MARGIN, bottom), shortened(caption, max(room, 0), TEXT), self._theme.faint)
        return np.asarray(image)
