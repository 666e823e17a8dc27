"""From a decoded frame to a picture of the clip's size: upright, in its true shape, cropped or padded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import Type as SideDataType
from av.video.reformatter import VideoReformatter
from PIL import Image

from cvivit.video.colour import to_rgb
from cvivit.video.settings import ClipFormat

_MAX_PIXEL_ASPECT: Final = 16.0
"""A pixel is at most this much wider than high, or higher than wide. Beyond it the number is junk."""


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight ways to hold a picture: transposed first, then mirrored along its new sides."""

    transpose: bool = False
    mirror_rows: bool = False
    mirror_columns: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """Read the display matrix of a frame. Angles between quarter turns go to the nearest."""
        data = frame.side_data.get(SideDataType.DISPLAYMATRIX)  # type: ignore[call-overload]  # keys are not str
        if data is None:
            return cls()
        # A point goes to (a x + c y, b x + d y).
        a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(data, dtype=np.int32))
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, mirror_rows=b < 0, mirror_columns=c < 0)
        return cls(mirror_rows=d < 0, mirror_columns=a < 0)

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Turn a picture (h w c) upright."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.mirror_rows else 1, :: -1 if self.mirror_columns else 1]


def plausible_aspect(pixel_aspect: float) -> float:
    """Return the width of a pixel over its height, or 1 where what the file says is junk."""
    return pixel_aspect if 1 / _MAX_PIXEL_ASPECT <= pixel_aspect <= _MAX_PIXEL_ASPECT else 1.0


class Framer:
    """Makes pictures (h w 3) of the clip's size out of decoded frames."""

    def __init__(self, clip_format: ClipFormat, *, pixel_aspect: float = 1.0, threads: int = 0) -> None:
        self._format = clip_format
        self._reformatter = VideoReformatter()
        self._pixel_aspect = plausible_aspect(pixel_aspect)
        self._threads = threads

    def picture(self, frame: VideoFrame) -> np.ndarray:
        """Return uint8 (h w 3), as it is meant to be seen.

        Sampling is bilinear with antialiasing: each pixel of the result weighs every pixel under it.
        """
        orientation = Orientation.of(frame)
        height, width = self._format.image_size
        if orientation.transpose:
            height, width = width, height
        return np.ascontiguousarray(
            orientation.apply(
                self._fit(_image(to_rgb(frame, self._reformatter, threads=self._threads)), height, width)
            )
        )

    def _fit(self, image: Image.Image, height: int, width: int) -> np.ndarray:
        seen_width, seen_height = image.width * self._pixel_aspect, image.height
        if self._format.fit == "stretch":
            return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
        if self._format.fit == "pad":
            scale = min(width / seen_width, height / seen_height)
            inner = max(1, round(seen_width * scale)), max(1, round(seen_height * scale))
            canvas = np.zeros((height, width, 3), np.uint8)
            top, left = (height - inner[1]) // 2, (width - inner[0]) // 2
            fitted = np.asarray(image.resize(inner, Image.Resampling.BILINEAR))
            canvas[top : top + inner[1], left : left + inner[0]] = fitted
            return canvas
        scale = max(width / seen_width, height / seen_height)
        cut_x = max(0.0, (image.width - width / scale / self._pixel_aspect) / 2)
        cut_y = max(0.0, (image.height - height / scale) / 2)
        box = (cut_x, cut_y, image.width - cut_x, image.height - cut_y)
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))


def _image(frame: VideoFrame) -> Image.Image:
    plane = frame.planes[0]
    return Image.frombuffer(
        "RGB", (frame.width, frame.height), bytes(plane), "raw", "RGB", plane.line_size, 1
    )
