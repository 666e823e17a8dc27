"""The shape of a frame's pixels, which may change within a video."""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from av import VideoFrame
from av.filter import Graph
from av.video.stream import VideoStream

MAX_PIXEL_ASPECT: Final = 16
"""A pixel is at most this much wider than high, or higher than wide. A larger number is ignored."""

_UNIT: Final = 4096
_DIGIT: Final = 512
"""Aspects are measured in units, as a number of two digits with this base."""
_LEAST: Final = 16
"""Pixels of a side that stands for the digit 0."""
_LARGEST_TERM: Final = 1000
"""Numerators and denominators up to which a measured ratio is taken for a fraction of whole numbers."""


class PixelAspects:
    """Finds the aspect of each frame's pixels, which is their width divided by their height."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        self._usual = plausible_aspect(stream.sample_aspect_ratio)
        self._first = stream.codec_context.sample_aspect_ratio
        self._changes = False
        self._graph: Graph | None = None

    def of(self, frame: VideoFrame) -> float:
        """Return the aspect of a frame's pixels, or 1 if the stated one is implausible.

        It is the aspect that the container states, or else the codec, in FFmpeg's order of preference, until
        the codec states another aspect than before. From then on, each frame has its own. A decoder reads of
        a change before it returns the frames that the change is for, so no change is missed.
        """
        if not self._changes:
            self._changes = self._stream.codec_context.sample_aspect_ratio != self._first
        if self._changes:
            aspect = self._measure(frame)
            if self._first is None or abs(aspect - self._first) > self._first / _UNIT:
                return plausible_aspect(aspect)
        return self._usual

    def _measure(self, frame: VideoFrame) -> Fraction:
        """Return the aspect that a frame carries.

        PyAV does not tell it, but a filter of FFmpeg can be asked to make a picture whose sides tell it.
        FFmpeg refuses to enlarge by large factors, so a single side would not do.
        """
        if self._graph is None:
            units = f"floor(clip(sar\\,1/{_UNIT}\\,{2 * MAX_PIXEL_ASPECT})*{_UNIT})"
            self._graph = Graph()
            nodes = (
                self._graph.add_buffer(
                    width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
                ),
                self._graph.add("crop", "w=2:h=2:x=0:y=0"),
                self._graph.add(
                    "scale",
                    f"w={_LEAST}+mod({units}\\,{_DIGIT}):h={_LEAST}+floor({units}/{_DIGIT}):eval=frame:flags=neighbor",
                ),
                self._graph.add("buffersink"),
            )
            self._graph.link_nodes(*nodes)
            self._graph.configure()
        self._graph.vpush(frame)
        sides = self._graph.vpull()
        measured = (sides.height - _LEAST) * _DIGIT + sides.width - _LEAST
        return Fraction(measured, _UNIT).limit_denominator(_LARGEST_TERM)


def plausible_aspect(pixel_aspect: Fraction | None) -> float:
    """Return the width of a pixel divided by its height, or 1 if it is unknown or implausible."""
    if pixel_aspect is None or not Fraction(1, MAX_PIXEL_ASPECT) <= pixel_aspect <= MAX_PIXEL_ASPECT:
        return 1.0
    return float(pixel_aspect)
