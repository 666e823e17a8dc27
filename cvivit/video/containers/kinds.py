"""The containers and codecs that are read, and how a container is recognised by its first bytes.

FFmpeg's own detection is not used, because it also accepts playlists, subtitles and scripts, and opens the
files that they refer to. A file of none of the six kinds below is not read as a video.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

HEAD_BYTES: Final = 4096
"""How much of a file `sniff` looks at."""

CODECS: Final = (
    "av1",
    "cinepak",
    "ffv1",
    "gif",
    "h263",
    "h264",
    "hevc",
    "libdav1d",
    "libvpx",
    "libvpx-vp9",
    "mjpeg",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "msmpeg4",
    "msmpeg4v2",
    "png",
    "prores",
    "qtrle",
    "rawvideo",
    "vp8",
    "vp9",
)
"""Decoders that may be opened, by FFmpeg's names."""


class Container(Enum):
    """A kind of file that is read. The value is the name of FFmpeg's demuxer."""

    ISO = "mov"
    """MP4, MOV, M4V, 3GP, AVIF."""
    MATROSKA = "matroska"
    """MKV and WebM."""
    AVI = "avi"
    GIF = "gif"
    MPEG_TS = "mpegts"
    MPEG_PS = "mpeg"

    @property
    def title(self) -> str:
        """The name of the kind for people."""
        return _TITLES[self]


_TITLES: Final = {
    Container.ISO: "ISO media (MP4, MOV, 3GP, AVIF)",
    Container.MATROSKA: "Matroska (MKV, WebM)",
    Container.AVI: "AVI",
    Container.GIF: "GIF",
    Container.MPEG_TS: "MPEG transport stream",
    Container.MPEG_PS: "MPEG program stream",
}


READ_KINDS: Final = "MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG-PS, GIF or AVIF"
"""The kinds of files that are read, as messages name them."""

ISO_BOXES: Final = frozenset(
    b"ftyp styp moov moof mfra mdat meta udta free skip wide pnot sidx emsg prft uuid".split()
)
"""Types of the boxes that a file of this family is made of at its top level."""

TS_PACKET_SIZES: Final = (188, 192, 204)
"""Bytes of a transport packet: plain, with a time code (M2TS), with error correction."""

_TS_SYNC: Final = 0x47
_TS_PACKETS_SEEN: Final = 5
_PS_PACK: Final = b"\x00\x00\x01\xba"


def sniff(head: bytes) -> Container | None:
    """Return the container of a file, given its first `HEAD_BYTES` bytes, or None if it is not a video."""
    if head[4:8] in ISO_BOXES:
        return Container.ISO
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return Container.MATROSKA
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return Container.AVI
    if head.startswith((b"GIF87a", b"GIF89a")):
        return Container.GIF
    if head.lstrip(b"\x00")[:2] == _PS_PACK[2:] and _PS_PACK in head:
        return Container.MPEG_PS
    if transport_layout(head) is not None:
        return Container.MPEG_TS
    return None


def transport_layout(head: bytes) -> tuple[int, int] | None:
    """Return (offset of the first sync byte, bytes of a packet) of a transport stream, or None."""
    for size in TS_PACKET_SIZES:
        for offset in range(min(size, len(head))):
            syncs = head[offset::size][:_TS_PACKETS_SEEN]
            whole = len(syncs) == _TS_PACKETS_SEEN or offset + size * len(syncs) == len(head)
            if whole and syncs.count(_TS_SYNC) == len(syncs):
                return offset, size
    return None
