"""Put a box into the description of an MP4's video that FFmpeg does not write, or writes otherwise."""

from __future__ import annotations

import struct
from typing import Final

_PATH: Final = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


def with_box(data: bytes, kind: bytes, content: bytes) -> bytes:
    """Add a box to the first sample entry of an MP4 whose index comes last."""
    box = struct.pack(">I4s", 8 + len(content), kind) + content
    out, parents, position = bytearray(data), [], 0
    for name in _PATH:
        while bytes(out[position + 4 : position + 8]) != name:
            position += int.from_bytes(out[position : position + 4], "big")
        parents.append(position)
        position += 8
    position += 8  # into the list of sample entries
    parents.append(position)
    end = position + int.from_bytes(out[position : position + 4], "big")
    out[end:end] = box
    for parent in parents:
        grown = int.from_bytes(out[parent : parent + 4], "big") + len(box)
        out[parent : parent + 4] = grown.to_bytes(4, "big")
    return bytes(out)
