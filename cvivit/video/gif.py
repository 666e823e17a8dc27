"""Convert pictures for a GIF: 256 colours each, and times in hundredths of a second."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Final

import av
import numpy as np
from av import VideoFrame
from av.filter import Graph
from av.video.format import VideoFormat

TIME_BASE: Final = Fraction(1, 100)
_SHORTEST: Final = 2
"""Hundredths of a second that a picture is shown, at least: players slow down what is shorter."""


def gif_frames(pictures: Iterable[np.ndarray], rate: Fraction) -> Iterator[VideoFrame]:
    """Yield pal8 frames with their times. Every picture gets the 256 colours that suit it best, dithered.

    Times are rounded down, so that a reader at the same rate finds each picture at its own tick.
    """
    graph: Graph | None = None
    due = 0
    for index, picture in enumerate(pictures):
        time = int(index * 100 / rate)
        if time < due:
            continue
        graph = graph or _palette_graph(picture)
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = time, TIME_BASE
        graph.push(frame)
        yield from _pull(graph)
        due = time + _SHORTEST
    if graph is not None:
        graph.push(None)
        yield from _pull(graph)


def last_delay(count: int, last_time: int, rate: Fraction) -> int:
    """Return how long the last frame is shown, so that `count` pictures end when they should."""
    return max(_SHORTEST, int(count * 100 / rate) - last_time)


def _palette_graph(picture: np.ndarray) -> Graph:
    height, width, _ = picture.shape
    graph = Graph()
    source = graph.add_buffer(width=width, height=height, format=VideoFormat("rgb24"), time_base=TIME_BASE)
    split = graph.add("split")
    palette = graph.add("palettegen", "stats_mode=single:reserve_transparent=0")
    use = graph.add("paletteuse", "new=1:dither=sierra2_4a")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(palette, 1, 0)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _pull(graph: Graph) -> Iterator[VideoFrame]:
    while True:
        try:
            frame = graph.vpull()
        except (av.BlockingIOError, av.EOFError):
            return
        yield frame
