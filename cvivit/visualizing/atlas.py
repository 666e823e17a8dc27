"""A still of what each code looks like: the mean of what the decoder paints for it."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from cvivit.visualizing.colours import Theme, code_colours
from cvivit.visualizing.counting import CodeCounts, CodePatches
from cvivit.visualizing.drawing import (
    LINE,
    MARGIN,
    SMALL,
    TEXT,
    TITLE,
    blank,
    enlarged,
    shortened,
    wrapped,
    write,
)
from cvivit.visualizing.usage import sources_of

COLUMNS: Final = 16
"""Codes in a row."""
MAX_CODES: Final = 4096
"""Codes of one picture. WebP holds at most 16,383 pixels in height."""
_SIDE: Final = 48
"""Pixels of the longer side of a patch, at least."""
_BORDER: Final = 4
"""Pixels of the border in the code's own colour."""
_GAP: Final = 8


def draw_atlas(
    counts: CodeCounts, patches: CodePatches, codebook_size: int, theme: Theme, *, most: int
) -> Image.Image:
    """Draw the `most` most frequent codes, the most frequent first."""
    codes, number = counts.codes[:most], counts.counts[:most]
    pictures = [
        (int(code), int(count), patches.picture(int(code))) for code, count in zip(codes, number, strict=True)
    ]
    sample = next(picture for _, _, picture in pictures if picture is not None)
    scale = max(1, -(-_SIDE // max(sample.shape[:2])))
    height, width = (side * scale for side in sample.shape[:2])
    cell_width = width + 2 * _BORDER + _GAP
    cell_height = height + 2 * _BORDER + round(SMALL * LINE) * 2 + _GAP
    columns = COLUMNS
    whole = max(2 * MARGIN + columns * cell_width - _GAP, 640)
    room = whole - 2 * MARGIN
    title, line = round(TITLE * LINE), round(TEXT * LINE)
    text = wrapped(_explanation(counts, patches, codebook_size, len(codes)), room, TEXT)
    top = MARGIN + title + (1 + len(text)) * line + MARGIN
    rows = -(-len(codes) // columns)
    image, pen = blank(whole, top + rows * cell_height + MARGIN, theme)
    write(pen, (MARGIN, MARGIN), "What each code looks like", theme.text, size=TITLE)
    write(pen, (MARGIN, MARGIN + title), shortened(sources_of(counts), room, TEXT), theme.faint)
    for index, words in enumerate(text, 1):
        write(pen, (MARGIN, MARGIN + title + index * line), words, theme.text)
    colours = code_colours(codes)
    for place, (code, count, picture) in enumerate(pictures):
        left = MARGIN + place % columns * cell_width
        upper = top + place // columns * cell_height
        box = (left, upper, left + width + 2 * _BORDER - 1, upper + height + 2 * _BORDER - 1)
        red, green, blue = (int(value) for value in colours[place])
        pen.rectangle(box, fill=(red, green, blue))
        if picture is not None:
            shown = np.ascontiguousarray(enlarged(picture, (height, width)))
            image.paste(Image.fromarray(shown), (left + _BORDER, upper + _BORDER))
        below = box[3] + 3
        write(pen, (left, below), f"{code}", theme.text, size=SMALL)
        write(pen, (left, below + round(SMALL * LINE) - 3), f"x {count:,}", theme.faint, size=SMALL)
    return image


def _explanation(counts: CodeCounts, patches: CodePatches, codebook_size: int, shown: int) -> str:
    used = len(counts.codes)
    which = f"All {used:,}" if shown == used else f"The {shown:,} most frequent of {used:,}"
    text = (
        f"{which} codes that occur, of {codebook_size:,}. Each square is the mean of what the decoder "
        "painted for a code, over all its places in these inputs, since a code has no look of its own: the "
        "decoder sees all tokens of a clip. The border is the code's colour in token maps; below are its "
        "number and how often it occurs."
    )
    if patches.explained is not None:
        text += f" The code alone explains {100 * patches.explained:.0f}% of the variance of the patches."
    return text
