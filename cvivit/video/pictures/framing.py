"""Turn a decoded frame into a picture of the clip's size: upright, in its true shape, cropped or padded.

Each plane is cropped and resized, without rounding, by the triangle filter at the places where its own
samples lie. After that the samples are converted to R, G and B, high dynamic range is mapped, and each value
is clipped and rounded once. So only the few pixels of the picture are converted, and the same file gives the
same pictures on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from av import VideoFrame
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from cvivit.video.pictures.aspect import PixelAspects
from cvivit.video.pictures.colours.conversion import Converter
from cvivit.video.pictures.colours.light import needs_light
from cvivit.video.pictures.colours.matrices import Colours
from cvivit.video.pictures.layouts import Model
from cvivit.video.pictures.planes import Planes, Unpacker
from cvivit.video.pictures.resampling import BAND, PlaneResampler, Sampling, Scratch
from cvivit.video.pictures.side_data import Orientation, stated_peak
from cvivit.video.pictures.siting import LEFT, Siting, siting_of
from cvivit.video.pictures.stated import Cropping, Stated, stated_of
from cvivit.video.settings import ClipFormat, Fit

_NO_SITING: Final = (1, 1)
"""The subsampling of formats whose chroma has a sample at each pixel."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """The part of a frame that is visible, and its place in the picture."""

    box: tuple[float, float, float, float]
    """Top, left, bottom and right of the part, in pixels of the frame."""
    size: tuple[int, int]
    """Height and width that it is resized to."""
    corner: tuple[int, int]
    """Row and column of the picture where it begins."""


def place(frame: tuple[int, int], picture: tuple[int, int], fit: Fit, aspect: float) -> Placement:
    """Fit a frame of (height, width) whose pixels are `aspect` times as wide as high into a picture."""
    (frame_height, frame_width), (height, width) = frame, picture
    seen_width = frame_width * aspect
    whole = (0.0, 0.0, float(frame_height), float(frame_width))
    if fit == "stretch":
        return Placement(box=whole, size=picture, corner=(0, 0))
    if fit == "pad":
        scale = min(width / seen_width, height / frame_height)
        inner = max(1, round(frame_height * scale)), max(1, round(seen_width * scale))
        return Placement(box=whole, size=inner, corner=((height - inner[0]) // 2, (width - inner[1]) // 2))
    scale = max(width / seen_width, height / frame_height)
    left = max(0.0, (frame_width - width / scale / aspect) / 2)
    top = max(0.0, (frame_height - height / scale) / 2)
    return Placement(box=(top, left, frame_height - top, frame_width - left), size=picture, corner=(0, 0))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """The properties of a frame that decide its steps. Frames with equal plans share their steps."""

    pixel_format: str
    frame: tuple[int, int]
    aspect: float
    transpose: bool
    colours: Colours
    peak: float | None


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Planes of a frame that are resized together."""

    planes: slice
    window: tuple[slice, slice]
    """Rows and columns of them that are seen, of cropped frames, and a few more at the edges."""
    resampler: PlaneResampler


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How a frame becomes a picture, for reports."""

    pixel_format: str
    """FFmpeg's name of the way in which samples are stored."""
    frame: tuple[int, int]
    """Height and width of the frame as it is stored."""
    cropping: Cropping
    """What the container says is not to be shown."""
    placement: Placement
    """Which part of the cropped frame is seen. Its sizes are those before the picture is turned upright."""
    aspect: float
    """The width of a pixel divided by its height."""
    orientation: Orientation
    colours: Colours
    model: Model
    """What the samples are: Y'CbCr, RGB or grey."""
    peak: float | None
    """Light in cd/m² of the brightest pixel, of a frame of high dynamic range that states it."""
    tone_mapped: bool
    """Whether high dynamic range is mapped to the standard one."""
    matrix_stated: bool
    """Whether the file states the matrix. Otherwise the customary one is taken."""
    range_stated: bool


class _Steps:
    """The steps from the planes of a frame to a picture that is not yet turned upright."""

    def __init__(
        self, plan: _Plan, planes: Planes, clip_format: ClipFormat, cropping: Cropping, siting: Siting
    ) -> None:
        height, width = clip_format.image_size
        self._size = (width, height) if plan.transpose else (height, width)
        self.placement = place(cropping.size(*plan.frame), self._size, clip_format.fit, plan.aspect)
        # Light goes up steeply with the signal: there the smallest differences would be seen.
        light = needs_light(plan.colours, yuv=planes.model == "yuv", tone_map=clip_format.tone_map)
        self._groups = []
        scratch = Scratch()
        for part in _alike(planes):
            shared = planes.subsampling if part.start else (1, 1)
            rows, columns = self._samplings(plan.frame, cropping, shared, siting)
            resampler = PlaneResampler(
                rows[1],
                columns[1],
                sample_bits=planes.bits,
                planes=part.stop - part.start,
                rounded=not light,
                scratch=scratch,
            )
            self._groups.append(_Group(planes=part, window=(rows[0], columns[0]), resampler=resampler))
        self._converter = Converter(
            plan.colours,
            planes.model,
            planes.bits,
            units=[group.resampler.bits for group in self._groups for _ in planes.arrays[group.planes]],
            tone_map=clip_format.tone_map,
            peak=plan.peak,
            scratch=scratch,
        )

    def _samplings(
        self, frame: tuple[int, int], cropping: Cropping, shared: tuple[int, int], siting: Siting
    ) -> tuple[tuple[slice, Sampling], tuple[slice, Sampling]]:
        """Return the window of a plane that is seen, and how it is sampled, for rows and for columns."""
        (top, left, bottom, right), (height, width) = self.placement.box, self.placement.size
        whole_rows = (cropping.top, frame[0] - cropping.bottom)
        whole_columns = (cropping.left, frame[1] - cropping.right)
        return (
            _sampling((top, bottom), height, whole_rows, shared[0], siting.vertical),
            _sampling((left, right), width, whole_columns, shared[1], siting.horizontal),
        )

    def picture(self, planes: Planes) -> np.ndarray:
        picture = np.zeros((*self._size, 3), np.uint8)
        (first, left), (height, width) = self.placement.corner, self.placement.size
        seen = [[plane[group.window] for plane in planes.arrays[group.planes]] for group in self._groups]
        for top in range(0, height, BAND):
            bands = [
                band
                for group, arrays in zip(self._groups, seen, strict=True)
                for band in group.resampler.resize(arrays, top)
            ]
            into = slice(first + top, first + min(top + BAND, height))
            self._converter.convert(bands, picture[into, left : left + width])
        return picture


def _alike(planes: Planes) -> list[slice]:
    """Return the planes that lie alike: all of R, G and B, but luma and chroma apart."""
    return [slice(0, 1), slice(1, 3)] if planes.model == "yuv" else [slice(0, len(planes.arrays))]


def _sampling(
    box: tuple[float, float], count: int, window: tuple[int, int], shared: int, position: float
) -> tuple[slice, Sampling]:
    """Return which samples of an axis lie in a window of pixels, and how they are sampled.

    `box` counts from the window's start. A sample stands for `shared` pixels, and lies at `position` among
    them.
    """
    low, high = window[0] // shared, -(-window[1] // shared)
    start = window[0] + box[0]
    # In pixels from the frame's edge, the centre of sample j lies at j * shared + 0.5 + (shared - 1) *
    # position.
    shift = 0.5 - (0.5 + (shared - 1) * position) / shared
    return slice(low, high), Sampling(
        start=start / shared + shift - low,
        scale=(box[1] - box[0]) / count / shared,
        count=count,
        length=high - low,
    )


class Framer:
    """Makes pictures (h w 3) of the clip's size out of the decoded frames of one stream."""

    def __init__(self, clip_format: ClipFormat, stream: VideoStream | None = None) -> None:
        """Make pictures of the frames of `stream`, or of those of a decoder without a container."""
        self._format = clip_format
        self._unpacker = Unpacker()
        self._aspects = PixelAspects(stream) if stream else None
        self._stated = stated_of(stream) if stream else Stated()
        self._sitings: dict[str, Siting] = {}
        self._peak: float | None = None
        self._plan: _Plan | None = None
        self._steps: _Steps | None = None

    def picture(self, frame: VideoFrame) -> np.ndarray:
        """Return uint8 (h w 3), as it is meant to be seen.

        Raises:
            UnsupportedMediaError: its colours or its pixel format are of a kind that is not converted.
        """
        planes, orientation, steps = self._prepared(frame)
        return np.ascontiguousarray(orientation.apply(steps.picture(planes)))

    def framing(self, frame: VideoFrame) -> Framing:
        """Return how `picture` treats a frame.

        Raises:
            UnsupportedMediaError: as `picture` does.
        """
        planes, orientation, steps = self._prepared(frame)
        plan = self._plan
        assert plan is not None
        return Framing(
            pixel_format=plan.pixel_format,
            frame=plan.frame,
            cropping=self._stated.cropping.within(*plan.frame),
            placement=steps.placement,
            aspect=plan.aspect,
            orientation=orientation,
            colours=plan.colours,
            model=planes.model,
            peak=plan.peak,
            tone_mapped=self._format.tone_map and plan.colours.is_hdr,
            matrix_stated=plan.colours.matrix in (int(frame.colorspace), self._stated.matrix),
            range_stated=frame.color_range != ColorRange.UNSPECIFIED or self._stated.full_range is not None,
        )

    def _prepared(self, frame: VideoFrame) -> tuple[Planes, Orientation, _Steps]:
        """Return the samples of a frame, its orientation, and the steps that its like are treated with."""
        planes = self._unpacker.planes(frame)
        orientation = Orientation.of(frame)
        self._peak = stated_peak(frame) or self._peak
        colours = Colours.of(frame, planes.model, self._stated)
        plan = _Plan(
            pixel_format=frame.format.name,
            frame=(frame.height, frame.width),
            aspect=self._aspects.of(frame) if self._aspects else 1.0,
            transpose=orientation.transpose,
            colours=colours,
            peak=self._peak if colours.is_hdr else None,
        )
        if plan != self._plan or self._steps is None:
            cropping = self._stated.cropping.within(*plan.frame)
            self._steps = _Steps(plan, planes, self._format, cropping, self._siting(frame, planes))
            self._plan = plan
        return planes, orientation, self._steps

    def _siting(self, frame: VideoFrame, planes: Planes) -> Siting:
        if planes.subsampling == _NO_SITING:
            return LEFT
        name = frame.format.name
        if name not in self._sitings:
            self._sitings[name] = siting_of(frame, stated=self._stated.chroma_is_sited)
        return self._sitings[name]


def display_size_of(frame: VideoFrame, stream: VideoStream) -> tuple[int, int]:
    """Return the height and width of a frame as it is to be seen: cropped, upright, in square pixels."""
    height, width = (
        stated_of(stream).cropping.within(frame.height, frame.width).size(frame.height, frame.width)
    )
    size = height, max(1, round(width * PixelAspects(stream).of(frame)))
    return size[::-1] if Orientation.of(frame).transpose else size
