"""Find out whether the video of a file is encrypted. Decoders return garbage for it without an error."""

from __future__ import annotations

import os
from typing import BinaryIO, Final

from cvivit.errors import UnsupportedMediaError
from cvivit.video.containers.boxes import MAX_BOXES, find_boxes, read_at
from cvivit.video.containers.ebml import SEGMENT, find_elements
from cvivit.video.containers.kinds import Container

_SAMPLE_ENTRIES: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_VISUAL_ENTRY_BYTES: Final = 78
"""Fields of a video's sample entry, before the boxes inside it."""
_SCHEMES: Final = frozenset((b"cenc", b"cbc1", b"cens", b"cbcs"))
_TRACK_ENTRY: Final = (SEGMENT, 0x1654AE6B, 0xAE)
_TRACK_TYPE: Final = (0x83,)
_CONTENT_ENCRYPTION: Final = (0x6D80, 0x6240, 0x5035)
_VIDEO_TRACK: Final = 1


def check_not_encrypted(file: BinaryIO, kind: Container) -> None:
    """Raise UnsupportedMediaError where a video track says that it is encrypted. The position is moved."""
    if kind is Container.ISO:
        scheme = _iso_scheme(file)
    elif kind is Container.MATROSKA:
        scheme = _matroska_scheme(file)
    else:
        return
    if scheme is not None:
        raise encrypted(scheme)


def encrypted(scheme: str) -> UnsupportedMediaError:
    """Return the error for a video that is encrypted by `scheme`."""
    return UnsupportedMediaError(f"the video is encrypted ({scheme}): it cannot be read without its key")


def _iso_scheme(file: BinaryIO) -> str | None:
    """Return the name of the common encryption of a video track of an MP4."""
    budget = iter(range(MAX_BOXES))
    whole = (0, file.seek(0, os.SEEK_END))
    for start, end in find_boxes(file, whole, _SAMPLE_ENTRIES, budget):
        for entry, entry_end in find_boxes(file, (start + 8, end), (b"encv",), budget):
            inside = (entry + _VISUAL_ENTRY_BYTES, entry_end)
            for scheme, _ in find_boxes(file, inside, (b"sinf", b"schm"), budget):
                name = read_at(file, scheme + 4, 4)
                if name in _SCHEMES:
                    return name.decode()
            return "encv"
    return None


def _matroska_scheme(file: BinaryIO) -> str | None:
    budget = iter(range(MAX_BOXES))
    whole = (0, file.seek(0, os.SEEK_END))
    for track in find_elements(file, whole, _TRACK_ENTRY, budget):
        kinds = [
            read_at(file, start, end - start)
            for start, end in find_elements(file, track, _TRACK_TYPE, budget)
        ]
        is_video = any(int.from_bytes(value[:8]) == _VIDEO_TRACK for value in kinds)
        if is_video and next(find_elements(file, track, _CONTENT_ENCRYPTION, budget), None) is not None:
            return "ContentEncryption"
    return None
