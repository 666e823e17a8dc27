"""What the bytes of a packet tell of its picture without decoding it.

Two things are asked: whether the packet holds a picture at all, and whether its picture may be left out
without changing any other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

import av
from av.video.stream import VideoStream

from cvivit.video.decoding.nal_units import (
    H264_PARAMETERS,
    H265_PARAMETERS,
    has_fields,
    highest_temporal_layer,
    length_size,
    nal_units,
    parameter_sets,
)

_INDEPENDENT: Final = frozenset(("mjpeg", "png", "prores", "rawvideo"))
"""Codecs of which every picture stands alone."""
_B_FRAMES: Final = frozenset(("mpeg1video", "mpeg2video", "mpeg4", "vp8"))
"""Codecs whose decoder knows by itself which pictures no other one refers to."""
_NEED_KEYFRAME: Final = frozenset(("mpeg4", "msmpeg4", "msmpeg4v2", "h263"))
"""Codecs whose decoder makes garbage of pictures before the first keyframe."""
_H264_SLICES: Final = frozenset((1, 2, 5))
_H265_PICTURES: Final = 32
"""Types of NAL units below this are pictures."""


class Spare(Enum):
    """What may be done with a packet whose picture is not needed."""

    DECODE = "decode it, since others may refer to it"
    NONREF = "have the decoder leave it out, unless others refer to it"
    DROP = "leave it out"


class Bitstream:
    """Looks into the packets of one stream, in the order of decoding.

    A packet is handed to `note` before it is decoded or left out.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._codec = stream.codec_context.name
        extradata = stream.codec_context.extradata or b""
        self._length_size = length_size(self._codec, extradata)
        self._may_have_fields = True
        self._highest_layer: int | None = None
        self._has_tables = True
        self.needs_keyframe = self._codec in _NEED_KEYFRAME
        """Whether frames before the first keyframe are garbage."""
        self._read_parameters(parameter_sets(self._codec, extradata))

    @property
    def frame_each(self) -> bool:
        """Whether every packet with a picture gives exactly one frame."""
        if self._codec == "h264":
            return not self._may_have_fields
        return self._codec in _INDEPENDENT | {"hevc", "vp9", "ffv1"}

    def note(self, packet: av.Packet[VideoStream]) -> None:
        """Learn from a packet what holds for the following ones: parameter sets that it brings."""
        if not packet.is_keyframe:
            return
        if self._codec in ("h264", "hevc"):
            wanted = H264_PARAMETERS if self._codec == "h264" else H265_PARAMETERS
            self._read_parameters(
                unit for unit in self._units(packet) if unit and _nal_type(self._codec, unit) == wanted
            )
        elif self._codec == "mjpeg":
            self._has_tables &= b"\xff\xdb" in bytes(memoryview(packet)[:2048])

    def spare(self, packet: av.Packet[VideoStream]) -> Spare:
        """Say what may be done with this packet, whose picture is not needed."""
        if self._codec in _INDEPENDENT:
            # A palette that comes with a packet holds for the following ones too.
            alone = self._has_tables and not packet.has_sidedata("palette")
            return Spare.DROP if alone else Spare.DECODE
        if self._codec in _B_FRAMES:
            return Spare.NONREF
        if self._codec == "h264":
            # The two fields of a picture may be in packets of their own, and only one of them be spare.
            return Spare.DECODE if self._may_have_fields else Spare.NONREF
        if self._codec == "hevc":
            return Spare.NONREF if self._in_highest_layer(packet) else Spare.DECODE
        return Spare.DECODE

    def has_picture(self, packet: av.Packet[VideoStream]) -> bool:
        """Whether a packet that cannot be decoded should hold a picture. Where unsure, it should."""
        if self._codec in ("h264", "hevc"):
            units = list(self._units(packet, strict=True))
            if not units or any(len(unit) < 2 for unit in units):
                return True
            types = [_nal_type(self._codec, unit) for unit in units]
            if self._codec == "h264":
                return any(kind in _H264_SLICES for kind in types)
            return any(kind < _H265_PICTURES for kind in types)
        if self._codec == "mpeg4":
            return b"\x00\x00\x01\xb6" in bytes(packet)
        return True

    def is_keyframe(self, packet: av.Packet[VideoStream]) -> bool:
        """Whether decoding may begin with this packet."""
        if self._codec != "mpeg4":
            return packet.is_keyframe
        data = bytes(packet)
        at = data.find(b"\x00\x00\x01\xb6")
        return 0 <= at < len(data) - 4 and data[at + 4] >> 6 == 0

    def _in_highest_layer(self, packet: av.Packet[VideoStream]) -> bool:
        """Whether the picture of a packet is in the highest temporal layer.

        A picture of a lower layer that its own layer does not refer to may still be referred to from above.
        """
        if self._highest_layer is None:
            return False
        return all(
            (unit[1] & 7) - 1 >= self._highest_layer
            for unit in self._units(packet)
            if len(unit) > 1 and _nal_type("hevc", unit) < _H265_PICTURES
        )

    def _read_parameters(self, units: Iterator[bytes]) -> None:
        sets = list(units)
        if sets and self._codec == "h264":
            self._may_have_fields = any(has_fields(unit) for unit in sets)
        elif sets:
            layers = [highest_temporal_layer(unit) for unit in sets]
            self._highest_layer = None if None in layers else max(layer or 0 for layer in layers)

    def _units(self, packet: av.Packet[VideoStream], *, strict: bool = False) -> Iterator[bytes]:
        return nal_units(bytes(packet), self._length_size, strict=strict)


def _nal_type(codec: str, unit: bytes) -> int:
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F
