"""HEIC files made on the spot: a still, or a still in tiles, of pictures that x265 codes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from tests.videos import make_video
from training.evaluate.codecs.video import X265_OPTIONS


def box(kind: bytes, *parts: bytes) -> bytes:
    """Return a box of ISO/IEC 14496-12."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def full_box(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def coded(picture: np.ndarray) -> tuple[bytes, bytes]:
    """Return the decoder's configuration and the one sample of a picture."""
    # With B-frames, x265 computes the decoding time of a lone picture from memory that it has never written.
    data = make_video([picture], codec="libx265", options={"x265-params": f"{X265_OPTIONS}:crf=4:bframes=0"})
    at = data.index(b"hvcC") - 4
    configuration = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    at = data.index(b"mdat") - 4
    return configuration, data[at + 8 : at + int.from_bytes(data[at : at + 4], "big")]


def heic(pictures: Sequence[np.ndarray], *, tiled: bool = False, thumbnail: bool = False) -> bytes:
    """Return a HEIC file of the first picture, or of a column of all of them as tiles."""
    height, width, _ = pictures[0].shape
    items = [coded(picture) for picture in pictures]
    if thumbnail:
        items.append(coded(pictures[0][:32, :32]))
    samples = [sample for _, sample in items]
    kinds = [b"hvc1"] * len(items)
    if tiled:
        samples.append(struct.pack(">BBBBHH", 0, 0, len(pictures) - 1, 0, width, height * len(pictures)))
        kinds.append(b"grid")
    primary = len(kinds) if tiled else 1
    numbers = range(1, len(kinds) + 1)
    entries = [
        full_box(b"infe", struct.pack(">HH4sB", number, 0, kind, 0), version=2)
        for number, kind in zip(numbers, kinds, strict=True)
    ]
    sizes = [
        full_box(b"ispe", struct.pack(">II", width, height)),
        full_box(b"ispe", struct.pack(">II", 32, 32)),
    ]
    sizes.append(full_box(b"ispe", struct.pack(">II", width, height * len(pictures))))
    properties = box(b"ipco", *sizes, *(configuration for configuration, _ in items))
    uses = []
    for number in numbers:
        grid = tiled and number == primary
        small = thumbnail and number == len(items)
        wanted = [3] if grid else [2 if small else 1, 0x80 | (3 + number)]
        uses.append(struct.pack(">HB", number, len(wanted)) + bytes(wanted))
    association = full_box(b"ipma", struct.pack(">I", len(uses)), *uses)
    references = []
    if tiled:
        tiles = range(1, len(pictures) + 1)
        references.append(box(b"dimg", struct.pack(f">HH{len(tiles)}H", primary, len(tiles), *tiles)))
    if thumbnail:
        references.append(box(b"thmb", struct.pack(">HHH", len(items), 1, primary)))

    def meta(offset: int) -> bytes:
        places = []
        for number, sample in zip(numbers, samples, strict=True):
            places.append(struct.pack(">HHHII", number, 0, 1, offset, len(sample)))
            offset += len(sample)
        return full_box(
            b"meta",
            full_box(b"hdlr", struct.pack(">I4s12xx", 0, b"pict")),
            full_box(b"pitm", struct.pack(">H", primary)),
            full_box(b"iloc", struct.pack(">BBH", 0x44, 0, len(samples)), *places),
            full_box(b"iinf", struct.pack(">H", len(entries)), *entries),
            *([full_box(b"iref", *references)] if references else []),
            box(b"iprp", properties, association),
        )

    head = box(b"ftyp", b"heic", bytes(4), b"mif1", b"heic")
    offset = len(head) + len(meta(0)) + 8
    return head + meta(offset) + box(b"mdat", *samples)
