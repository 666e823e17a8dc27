"""Learn about the picture of a packet from its bytes, without decoding it.

Two questions are answered: whether the packet holds a picture at all, and whether its picture may be left out
without changing any other one.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final

from av.video.stream import VideoStream

from cvivit.video.containers.opening import VideoPacket
from cvivit.video.decoding import av1, ffv1
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
"""Codecs whose pictures never refer to other pictures."""
_B_FRAMES: Final = frozenset(("mpeg1video", "mpeg2video", "mpeg4", "vp8"))
"""Codecs whose decoder knows by itself which pictures no other one refers to."""
_NEED_KEYFRAME: Final = frozenset(("mpeg4", "msmpeg4", "msmpeg4v2", "h263"))
"""Codecs whose decoder makes garbage of pictures before the first keyframe."""
_ONE_EACH: Final = frozenset(("ffv1", "h263", "libdav1d", "msmpeg4", "msmpeg4v2"))
"""Other codecs whose decoder gives a frame for each packet."""
_THREADED: Final = frozenset(("h264", "hevc", "libdav1d", "prores", "vp9"))
"""Codecs that are decoded with several threads. Other codecs report damage differently with several."""
_IN_ORDER: Final = _INDEPENDENT | _ONE_EACH | {"vp8", "vp9"}
_PLACEHOLDER_BYTES: Final = 24
"""Bytes of MPEG-4 packets that may say that nothing changed, or stand in for a picture sent before."""
_START_CODE: Final = b"\x00\x00\x01"
_SIGNED: Final = frozenset(
    ("cinepak", "gif", "libdav1d", "mjpeg", "png", "prores", "qtrle", "vp8", "vp9")
)  # fmt: skip
"""Codecs whose packets begin with a size, a mark or a type, which are never 0."""
_SIGNATURE_BYTES: Final = 16
"""Bytes of a packet that hold it, in any codec."""
_H264_SLICES: Final = frozenset((1, 2, 5))
_H265_PICTURES: Final = 32
"""Types of NAL units below this are pictures."""


class Spare(Enum):
    """How a packet may be treated whose picture is not needed."""

    DECODE = "decode it, since others may refer to it"
    NONREF = "have the decoder leave it out, unless others refer to it"
    DROP = "leave it out"


class Bitstream:
    """Looks into the packets of one stream, in the order of decoding.

    Call `note` with every packet before it is decoded or left out.
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
        self._av1 = av1.sequence_of_track(extradata) if self._codec == "libdav1d" else None
        self._checksum = ffv1.checksum_kind(extradata) if self._codec == "ffv1" else 0
        self._read_parameters(parameter_sets(self._codec, extradata))

    @property
    def may_have_threads(self) -> bool:
        """Whether several threads find the same damage as one thread, and give the same frames for it."""
        return self._codec in _THREADED and not (self._codec == "h264" and self._may_have_fields)

    @property
    def in_order(self) -> bool:
        """Whether frames always come out of the decoder in the order of their packets."""
        return self._codec in _IN_ORDER

    def gives_frame(self, packet: VideoPacket) -> bool:
        """Return whether a decoder must give a frame for this packet alone. In doubt: no."""
        if self._codec in ("h264", "hevc"):
            return not (self._codec == "h264" and self._may_have_fields) and self.has_picture(packet)
        head = bytes(memoryview(packet)[:2])
        if self._codec == "vp8":
            return bool(head[0] & 0x10)
        if self._codec == "vp9":
            return _shows_vp9(head) or bytes(memoryview(packet)[-1:])[0] & 0xE0 == 0xC0
        if self._codec == "mpeg4":
            return packet.size > _PLACEHOLDER_BYTES
        if self._codec in ("mpeg1video", "mpeg2video"):
            return not _is_field(bytes(packet))
        return self._codec in _INDEPENDENT or self._codec in _ONE_EACH

    def note(self, packet: VideoPacket) -> None:
        """Store the parameter sets in a packet, which hold for the packets after it."""
        if not packet.is_keyframe:
            return
        if self._codec in ("h264", "hevc"):
            wanted = H264_PARAMETERS if self._codec == "h264" else H265_PARAMETERS
            self._read_parameters(
                bytes(unit) for unit in self._units(packet) if unit and _nal_type(self._codec, unit) == wanted
            )
        elif self._codec == "libdav1d":
            self._av1 = av1.sequence_in(memoryview(packet)) or self._av1
        elif self._codec == "mjpeg":
            self._has_tables &= b"\xff\xdb" in bytes(memoryview(packet)[:2048])

    def spare(self, packet: VideoPacket) -> Spare:
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
        if self._codec == "libdav1d" and self._av1 is not None:
            return Spare.DROP if av1.is_droppable(memoryview(packet), self._av1) else Spare.DECODE
        return Spare.DECODE

    def has_picture(self, packet: VideoPacket) -> bool:
        """Return whether a packet that cannot be decoded should hold a picture. In doubt: yes."""
        if self._codec in ("h264", "hevc"):
            units = 0
            for unit in self._units(packet, strict=True):
                if len(unit) < 2:
                    return True
                kind = _nal_type(self._codec, unit)
                if kind in _H264_SLICES if self._codec == "h264" else kind < _H265_PICTURES:
                    return True
                units += 1
            return units == 0
        if self._codec == "mpeg4":
            data = bytes(packet)
            return not data.startswith(_START_CODE) or b"\x00\x00\x01\xb6" in data
        return True

    def is_damaged(self, packet: VideoPacket) -> bool:
        """Return whether a packet shows damage that its decoder may not report.

        It was filled with zeros, in which some decoders see no change, or it does not fit its checksums.
        """
        if self._codec not in _SIGNED and self._length_size is None:
            return bool(self._checksum) and not ffv1.are_whole(bytes(packet), self._checksum)
        return not any(bytes(memoryview(packet)[:_SIGNATURE_BYTES]))

    def is_keyframe(self, packet: VideoPacket) -> bool:
        """Return whether decoding may begin with this packet."""
        if self._codec == "vp8":
            return not bytes(memoryview(packet)[:1])[0] & 1
        if self._codec != "mpeg4":
            return packet.is_keyframe
        data = bytes(packet)
        at = data.find(b"\x00\x00\x01\xb6")
        return 0 <= at < len(data) - 4 and data[at + 4] >> 6 == 0

    def _in_highest_layer(self, packet: VideoPacket) -> bool:
        """Return whether the picture of a packet is in the highest temporal layer.

        A picture of a lower layer to which no picture of its own layer refers may be needed by a higher
        layer.
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

    def _units(self, packet: VideoPacket, *, strict: bool = False) -> Iterator[bytes | memoryview]:
        # The demuxer's own buffer is enough where lengths part the units: nothing is copied then.
        data = bytes(packet) if self._length_size is None else memoryview(packet)
        return nal_units(data, self._length_size, strict=strict)


def _nal_type(codec: str, unit: bytes | memoryview) -> int:
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def _shows_vp9(head: bytes) -> bool:
    """Return whether a frame of VP9 is shown (section 6.2 of its specification, uncompressed header)."""
    bits = int.from_bytes(head.ljust(2, b"\x00"))
    profile = bits >> 13 & 1 | bits >> 11 & 2
    shift = 11 - (profile == 3)  # of show_existing_frame; frame_type and show_frame follow it
    return bool(bits >> shift & 1 or bits >> (shift - 2) & 1)


def _is_field(data: bytes) -> bool:
    """Return whether a picture of MPEG-2 is one field of a frame (picture_structure, H.262, 6.2.3.1)."""
    at = data.find(b"\x00\x00\x01\xb5")
    while 0 <= at < len(data) - 6:
        if data[at + 4] >> 4 == 8:
            return data[at + 6] & 3 != 3
        at = data.find(b"\x00\x00\x01\xb5", at + 4)
    return False
