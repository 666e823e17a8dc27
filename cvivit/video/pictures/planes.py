"""Unpack any frame to one or three planes of integers: grey, Y Cb Cr, or R G B."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Final

import numpy as np
from av import VideoFrame
from av.error import FFmpegError
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter

from cvivit.errors import UnsupportedMediaError
from cvivit.video.pictures.layouts import Component, Layout, Model, layout_of
from cvivit.video.pictures.scaler import ACCURATE


@dataclass(frozen=True, kw_only=True)
class Planes:
    """The samples of a frame. Alpha is left out: the colours under it are taken as they are."""

    model: Model
    bits: int
    subsampling: tuple[int, int]
    """Rows and columns of pixels that share a sample of chroma."""
    arrays: tuple[np.ndarray, ...]
    """Y; or Y, Cb and Cr; or R, G and B. Each is (rows, columns) of unsigned integers, perhaps a view of the
    frame's memory."""


_BYTE: Final = np.dtype("u1")

# Formats that pack a pixel into the bits of one word: bytes of the word, and the lowest bit and the number of
# bits of R, G and B, or of Y, Cb and Cr.
_BIT_FIELDS: Final = {
    "rgb565": (2, (11, 5), (5, 6), (0, 5)),
    "bgr565": (2, (0, 5), (5, 6), (11, 5)),
    "rgb555": (2, (10, 5), (5, 5), (0, 5)),
    "bgr555": (2, (0, 5), (5, 5), (10, 5)),
    "rgb444": (2, (8, 4), (4, 4), (0, 4)),
    "bgr444": (2, (0, 4), (4, 4), (8, 4)),
    "rgb8": (1, (5, 3), (2, 3), (0, 2)),
    "bgr8": (1, (0, 3), (3, 3), (6, 2)),
    "rgb4_byte": (1, (3, 1), (1, 2), (0, 1)),
    "bgr4_byte": (1, (0, 1), (1, 2), (3, 1)),
    "x2rgb10": (4, (20, 10), (10, 10), (0, 10)),
    "x2bgr10": (4, (0, 10), (10, 10), (20, 10)),
    "xv30": (4, (10, 10), (0, 10), (20, 10)),
    "v30x": (4, (12, 10), (2, 10), (22, 10)),
}

# Other formats whose samples are not whole numbers of one or two bytes, and what FFmpeg rewrites them as.
# Only these: FFmpeg ends the process over some others, such as raw data of a camera's sensor with an odd
# size.
_REWRITTEN: Final = (
    (r"mono[bw]", "gray"),
    (r"grayf32..", "gray16le"),
    (r"(gbra?pf32|xyz12)..", "gbrp16le"),
    (r"uyyvyy411", "yuv411p"),
)


class Unpacker:
    """Turns frames into planes."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def planes(self, frame: VideoFrame) -> Planes:
        """Return the planes of `frame`, which share its memory where they can.

        Raises:
            UnsupportedMediaError: raw data of a camera's sensor, or a format that FFmpeg itself cannot
            convert.
        """
        if frame.format.has_palette:
            return _palette(frame)
        if (stem := re.sub(r"(le|be)$", "", frame.format.name)) in _BIT_FIELDS:
            return _bit_fields(frame, stem)
        layout = layout_of(frame.format.name)
        if layout is None:
            frame = self._rewrite(frame)
            layout = layout_of(frame.format.name)
            assert layout is not None
        arrays = tuple(
            _view(frame.planes[part.plane], layout.dtype, _size(frame, layout, index), part)
            for index, part in enumerate(layout.components)
        )
        if layout.shift:
            arrays = tuple(array >> layout.shift for array in arrays)
        return Planes(model=layout.model, bits=layout.bits, subsampling=layout.subsampling, arrays=arrays)

    def _rewrite(self, frame: VideoFrame) -> VideoFrame:
        """Let FFmpeg store the same samples another way, without converting their range or matrix."""
        name = frame.format.name
        plain = next((plain for pattern, plain in _REWRITTEN if re.fullmatch(pattern, name)), None)
        if plain is None:
            raise UnsupportedMediaError(f"the video's pixel format, {name}, is not one that is read")
        try:
            return self._reformatter.reformat(
                frame,
                format=plain,
                src_colorspace=Colorspace.ITU601,
                dst_colorspace=Colorspace.ITU601,
                src_color_range=ColorRange.JPEG,
                dst_color_range=ColorRange.JPEG,
                interpolation=ACCURATE,
                threads=1,
            )
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            raise UnsupportedMediaError(
                f"the video's pixel format, {name}, is not one that is read"
            ) from error


def _size(frame: VideoFrame, layout: Layout, index: int) -> tuple[int, int]:
    if index == 0 or layout.model != "yuv":
        return frame.height, frame.width
    rows, columns = layout.subsampling
    return -(-frame.height // rows), -(-frame.width // columns)


def _view(
    plane: VideoPlane, dtype: np.dtype[np.unsignedinteger], size: tuple[int, int], part: Component
) -> np.ndarray:
    """Return the samples of one component within a plane of memory, (rows, columns)."""
    view: np.ndarray = np.ndarray(
        size,
        dtype,
        buffer=plane,  # type: ignore[arg-type]  # it has the buffer protocol
        offset=part.offset * dtype.itemsize,
        strides=(abs(plane.line_size), part.step * dtype.itemsize),
    )
    return view if plane.line_size > 0 else view[::-1]  # stored from the bottom up


def _bit_fields(frame: VideoFrame, stem: str) -> Planes:
    size, *fields = _BIT_FIELDS[stem]
    dtype = np.dtype(f"{'>' if frame.format.is_big_endian else '<'}u{size}")
    words = _view(frame.planes[0], dtype, (frame.height, frame.width), Component(plane=0))
    bits = max(width for _, width in fields)
    arrays = [(words >> low) & ((1 << width) - 1) for low, width in fields]
    if bits < 8:  # fields of several widths become bytes
        for index, (_, width) in enumerate(fields):
            levels = (1 << width) - 1
            table = ((np.arange(levels + 1) * 510 + levels) // (2 * levels)).astype(np.uint8)
            arrays[index] = table[arrays[index]]
        bits = 8
    model: Model = "rgb" if frame.format.is_rgb else "yuv"
    return Planes(model=model, bits=bits, subsampling=(1, 1), arrays=tuple(arrays))


def _palette(frame: VideoFrame) -> Planes:
    indices = _view(frame.planes[0], _BYTE, (frame.height, frame.width), Component(plane=0))
    # A colour is a word of the machine: alpha in its highest byte, then red, green and blue.
    colours = np.frombuffer(frame.planes[1], np.uint8).reshape(256, 4)  # type: ignore[call-overload]
    channels = (2, 1, 0) if sys.byteorder == "little" else (1, 2, 3)
    arrays = tuple(colours[:, channel][indices] for channel in channels)
    return Planes(model="rgb", bits=8, subsampling=(1, 1), arrays=arrays)
