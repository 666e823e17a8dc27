"""Describe where the samples of a pixel format lie in memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias

import numpy as np
from av.video.format import VideoFormat

Model: TypeAlias = Literal["grey", "yuv", "rgb"]


@dataclass(frozen=True, kw_only=True)
class Component:
    """The samples of one colour within a plane of memory, counted in samples."""

    plane: int
    offset: int = 0
    step: int = 1


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the samples of a pixel format are stored. Alpha is left out."""

    model: Model
    dtype: np.dtype[np.unsignedinteger]
    bits: int
    """Bits of a sample, without those that pad it."""
    shift: int
    """Bits of padding below a sample."""
    components: tuple[Component, ...]
    """Y, or Y, Cb and Cr, or R, G and B."""
    subsampling: tuple[int, int]
    """Rows and columns of pixels that share a sample of chroma."""


# Packed formats whose names do not tell the order: the offsets of Y, Cb and Cr, and the samples of a group.
_PACKED_444: Final = {
    "vuya": ((2, 1, 0), 4),
    "vuyx": ((2, 1, 0), 4),
    "ayuv": ((1, 2, 3), 4),
    "ayuv64": ((1, 2, 3), 4),
    "uyva": ((1, 0, 2), 4),
    "vyu444": ((1, 2, 0), 3),
    "xv36": ((1, 0, 2), 4),
    "xv48": ((1, 0, 2), 4),
}
# Two pixels share a group of four samples.
_PACKED_422: Final = {
    "yuyv422": (0, 1, 3),
    "yvyu422": (0, 3, 1),
    "uyvy422": (1, 0, 2),
    "y210": (0, 1, 3),
    "y212": (0, 1, 3),
    "y216": (0, 1, 3),
}


@lru_cache(maxsize=64)
def layout_of(name: str) -> Layout | None:
    """Return the layout of a pixel format by FFmpeg's name, or None where it has to be unpacked first."""
    pixel_format = VideoFormat(name, 64, 64)
    stem = re.sub(r"(le|be)$", "", name)
    bits = max((part.bits for part in pixel_format.components), default=0)
    if re.search(r"f\d\d|mono|32|_byte|411$|^x2|^xyz|^xv30|^v30x|^bayer", stem) and stem not in (
        "yuv411p",
        "yuvj411p",
    ):
        return None
    if pixel_format.has_palette or not 8 <= bits <= 16:
        return None
    components = _components(stem, pixel_format)
    if components is None:
        return None
    dtype = np.dtype("u1" if bits == 8 else ">u2" if pixel_format.is_big_endian else "<u2")
    msb = "msb" in stem or re.match(r"(p\d1\d|y21\d|xv36)$", stem)
    return Layout(
        model="rgb" if pixel_format.is_rgb else "yuv" if len(components) == 3 else "grey",
        dtype=dtype,
        bits=bits,
        shift=16 - bits if msb else 0,
        components=components,
        subsampling=(64 // pixel_format.chroma_height(), 64 // pixel_format.chroma_width()),
    )


def _components(stem: str, pixel_format: VideoFormat) -> tuple[Component, ...] | None:
    parts = [part for part in pixel_format.components if not part.is_alpha]
    if len(parts) == 1:  # grey, which shares its plane with alpha in ya8 and ya16
        return (Component(plane=0, step=len(pixel_format.components)),)
    planes = [part.plane for part in parts]
    if len(set(planes)) == 3:
        return tuple(Component(plane=plane) for plane in planes)
    if len(set(planes)) == 2:  # Cb and Cr take turns, or Cr and Cb
        first = int(stem in ("nv21", "nv42"))
        return (
            Component(plane=0),
            Component(plane=1, step=2, offset=first),
            Component(plane=1, step=2, offset=1 - first),
        )
    if stem in _PACKED_444:
        offsets, step = _PACKED_444[stem]
        return tuple(Component(plane=0, step=step, offset=offset) for offset in offsets)
    if stem in _PACKED_422:
        offsets = _PACKED_422[stem]
        return tuple(
            Component(plane=0, step=step, offset=offset)
            for step, offset in zip((2, 4, 4), offsets, strict=True)
        )
    order = re.fullmatch(r"([rgba0]{3,4})(24|48|64)?", stem)
    if order:
        letters = order[1]
        return tuple(Component(plane=0, step=len(letters), offset=letters.index(one)) for one in "rgb")
    return None
