"""Read the side data of frames: their orientation, and the brightness that they state."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from av import VideoFrame
from av.sidedata.sidedata import SideData, SideDataContainer
from av.sidedata.sidedata import Type as SideDataType


def _name_any_type(cls: type[SideDataType], value: object) -> SideDataType:
    """Make a member for a type of side data that PyAV has no name for."""
    member: Any = object.__new__(cls)
    member._name_, member._value_ = f"UNNAMED_{value}", value
    found: SideDataType = cls._value2member_map_.setdefault(value, member)  # type: ignore[assignment]
    return found


# FFmpeg knows more types than PyAV, EXIF among them, and PyAV refuses to list any side data of a frame that
# has one of those. This hook of Python's enumerations only makes look-ups succeed that would raise
# ValueError.
SideDataType._missing_ = classmethod(_name_any_type)  # type: ignore[assignment]


@dataclass(frozen=True, kw_only=True)
class Orientation:
    """One of the eight orientations of a picture: transposed first, then mirrored along its new sides."""

    transpose: bool = False
    mirror_rows: bool = False
    mirror_columns: bool = False

    @classmethod
    def of(cls, frame: VideoFrame) -> Orientation:
        """Read the display matrix of a frame. Angles between quarter turns go to the nearest."""
        data = _side_data(frame, SideDataType.DISPLAYMATRIX)
        if data is None:
            return cls()
        # A point goes to (a x + c y, b x + d y).
        a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(data, dtype=np.int32))
        if abs(b) + abs(c) > abs(a) + abs(d):
            return cls(transpose=True, mirror_rows=b < 0, mirror_columns=c < 0)
        return cls(mirror_rows=d < 0, mirror_columns=a < 0)

    @property
    def rotation(self) -> int:
        """The quarter turns that make a picture upright, in degrees clockwise. Mirroring comes after them."""
        if self.transpose:
            return 270 if self.mirror_rows else 90
        return 180 if self.mirror_rows else 0

    @property
    def mirrored(self) -> bool:
        """Whether left and right change places after the rotation."""
        if self.transpose:
            return self.mirror_rows == self.mirror_columns
        return self.mirror_rows != self.mirror_columns

    def apply(self, picture: np.ndarray) -> np.ndarray:
        """Turn a picture (h w c) upright."""
        if self.transpose:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.mirror_rows else 1, :: -1 if self.mirror_columns else 1]


def stated_peak(frame: VideoFrame) -> float | None:
    """Return the light in cd/m² of the brightest pixel that a frame states, or None.

    The light of the contents (MaxCLL) is preferred to that of the display on which they were mastered.
    """
    content = _side_data(frame, SideDataType.CONTENT_LIGHT_LEVEL)
    if content is not None and len(content) >= 4:
        (peak,) = struct.unpack_from("=I", content)  # AVContentLightMetadata.MaxCLL
        if peak:
            return float(peak)
    display = _side_data(frame, SideDataType.MASTERING_DISPLAY_METADATA)
    if display is not None and len(display) >= 88:
        # AVMasteringDisplayMetadata: eight fractions of chromaticities, the least light, the most light,
        # whether there are primaries, and whether there is light.
        numerator, denominator, _, has_light = struct.unpack_from("=4i", display, 72)
        if has_light and numerator > 0 and denominator > 0:
            return float(numerator / denominator)
    return None


def _side_data(frame: VideoFrame, kind: SideDataType) -> bytes | None:
    return next((bytes(data) for data in _list_of(frame) if data.type is kind), None)


def _list_of(frame: VideoFrame) -> list[SideData]:
    # Not `frame.side_data`: the frame keeps that, and it keeps the frame. Such a cycle is only found by the
    # garbage collector, and until then the decoder cannot use the frame's memory again, so it takes new.
    return list(SideDataContainer(frame))  # type: ignore[call-arg]
