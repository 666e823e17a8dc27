"""A still of how a codebook is used: every code, how the frequencies fall, and the most frequent codes."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from cvivit.metrics import entropy_bits, perplexity
from cvivit.visualizing.colours import Theme, code_colours
from cvivit.visualizing.counting import CodeCounts
from cvivit.visualizing.drawing import (
    LINE,
    MARGIN,
    SMALL,
    TEXT,
    TITLE,
    blank,
    enlarged,
    shortened,
    text_width,
    write,
)

WIDTH: Final = 960
CHART: Final = 420
"""Height and width of the two charts in pixels, the text around them not counted."""
MAX_MAP_CODES: Final = CHART * CHART
"""Codes of a codebook whose every code has a pixel or more in the map."""
SWATCHES: Final = 12
"""Most frequent codes that are listed."""
_AXIS: Final = 46
"""Pixels for the numbers at an axis."""
_SWATCH: Final = 28


def draw_usage(counts: CodeCounts, codebook_size: int, theme: Theme) -> Image.Image:
    """Draw the counts of the codes of a codebook."""
    title, line = round(TITLE * LINE), round(TEXT * LINE)
    top = MARGIN + title + 2 * line + MARGIN
    chart_top = top + line + 4
    list_top = chart_top + CHART + _AXIS
    height = list_top + line + _SWATCH + line + MARGIN
    image, pen = blank(WIDTH, height, theme)
    codes, number = counts.codes, counts.counts
    write(pen, (MARGIN, MARGIN), "Codebook use", theme.text, size=TITLE)
    room = WIDTH - 2 * MARGIN
    write(pen, (MARGIN, MARGIN + title), shortened(sources_of(counts), room, TEXT), theme.faint)
    facts = (
        f"{counts.tokens:,} tokens use {len(codes):,} of {codebook_size:,} codes "
        f"({100 * len(codes) / codebook_size:.1f}%), as evenly as {perplexity(number):,.1f} equally frequent "
        f"ones (perplexity): {entropy_bits(number):.2f} bits a token"
    )
    write(pen, (MARGIN, MARGIN + title + line), shortened(facts, room, TEXT), theme.text)
    write(pen, (MARGIN, top), "Every code in its colour, where it occurs", theme.text)
    _map(image, pen, (MARGIN, chart_top), codes, codebook_size, theme)
    left = WIDTH - MARGIN - CHART
    write(pen, (left, top), "How often each code occurs, the most frequent first", theme.text)
    _curve(pen, (left, chart_top), number, counts.tokens / codebook_size, theme)
    write(pen, (MARGIN, list_top), "The most frequent codes, and their shares of all tokens", theme.text)
    _swatches(pen, list_top + line, codes, number, counts.tokens, theme)
    return image


def sources_of(counts: CodeCounts) -> str:
    """Name the inputs, or how many they are."""
    first, *others = counts.names
    return f"{first} and {len(others)} more" if len(others) > 1 else " and ".join(counts.names)


def _map(
    image: Image.Image,
    pen: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    codes: np.ndarray,
    codebook_size: int,
    theme: Theme,
) -> None:
    """Draw a cell for each code, by number, row after row; codes that do not occur stay empty."""
    if codebook_size > MAX_MAP_CODES:
        text = f"A codebook of {codebook_size:,} codes has no room here."
        write(pen, corner, text, theme.faint, size=SMALL)
        return
    columns = math.ceil(math.sqrt(codebook_size))
    rows = -(-codebook_size // columns)
    cell = CHART // columns
    cells = np.full((rows * columns, 3), theme.back, np.uint8)
    cells[:codebook_size] = theme.card
    cells[codes] = code_colours(codes)
    picture = enlarged(cells.reshape(rows, columns, 3), (rows * cell, columns * cell))
    left, top = corner
    pen.rectangle((left, top, left + columns * cell + 1, top + rows * cell + 1), outline=theme.line)
    image.paste(Image.fromarray(picture), (left + 1, top + 1))
    below = top + rows * cell + 4
    text = f"Code 0 is at the top left; a row has {columns} codes."
    write(pen, (left, below), text, theme.faint, size=SMALL)


def _curve(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], counts: np.ndarray, even: float, theme: Theme
) -> None:
    """Draw counts over ranks, both in powers of ten, and a dashed line where all codes were used alike."""
    left, top = corner[0] + _AXIS, corner[1]
    right, bottom = corner[0] + CHART - _AXIS // 2, top + CHART - _AXIS // 2
    decades = max(1, math.ceil(math.log10(len(counts)))), max(1, math.ceil(math.log10(counts[0] + 1)))

    def place(rank: float, count: float) -> tuple[float, float]:
        across, up = math.log10(rank) / decades[0], math.log10(count) / decades[1]
        return left + across * (right - left), bottom - up * (bottom - top)

    for power in range(decades[0] + 1):
        x, _ = place(10**power, 1)
        pen.line((x, top, x, bottom), fill=theme.line)
        write(pen, (x, bottom + 4), f"{10**power:,}", theme.faint, size=SMALL, anchor="ma")
    for power in range(decades[1] + 1):
        _, y = place(1, 10**power)
        pen.line((left, y, right, y), fill=theme.line)
        write(pen, (left - 6, y), f"{10**power:,}", theme.faint, size=SMALL, anchor="rm")
    write(pen, ((left + right) / 2, bottom + 20), "rank of the code", theme.faint, size=SMALL, anchor="ma")
    if even >= 1:
        _, y = place(1, even)
        for x in range(left, right, 10):
            pen.line((x, y, min(x + 5, right), y), fill=theme.faint)
        write(pen, (right, y - 3), "all codes alike", theme.faint, size=SMALL, anchor="rs")
    points = [place(rank, int(count)) for rank, count in enumerate(counts, 1)]
    if len(points) > 1:
        pen.line(points, fill=theme.accent, width=2)
    for x, y in (points[0], points[-1]):
        pen.ellipse((x - 3, y - 3, x + 3, y + 3), fill=theme.accent)


def _swatches(
    pen: ImageDraw.ImageDraw,
    top: int,
    codes: np.ndarray,
    counts: np.ndarray,
    tokens: int,
    theme: Theme,
) -> None:
    room = (WIDTH - 2 * MARGIN) // SWATCHES
    colours = code_colours(codes[:SWATCHES])
    for place, (code, count) in enumerate(zip(codes[:SWATCHES], counts[:SWATCHES], strict=True)):
        left = MARGIN + place * room
        red, green, blue = (int(value) for value in colours[place])
        pen.rectangle((left, top, left + _SWATCH, top + _SWATCH), fill=(red, green, blue))
        text = f"{code}"
        size = SMALL if text_width(text, SMALL) <= room - _SWATCH - 6 else SMALL - 2
        write(pen, (left + _SWATCH + 4, top), text, theme.text, size=size)
        share = f"{100 * count / tokens:.1f}%"
        write(pen, (left + _SWATCH + 4, top + SMALL + 2), share, theme.faint, size=size)
