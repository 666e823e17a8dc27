"""Files that were cut, that contradict themselves, or that point elsewhere."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tests.hostile.answers import CHANGED, CORRUPT, EMPTY, NO_STREAM, OK, TOO_LARGE, Hostile
from tests.videos import CONTAINERS, container_video, make_video, staircase


def broken_files() -> Iterator[Hostile]:
    for name in sorted(CONTAINERS):
        data = container_video(name)
        for share in (30, 70):
            cut = len(data) * share // 100
            cut += name == "ts" and cut % 188 == 0
            yield Hostile(name=f"{name} cut at {share}%", data=data[:cut], answers=(CORRUPT,))
        yield Hostile(
            name=f"{name} without its last bytes",
            data=data[: -9 if name != "ts" else -10],
            answers=(CORRUPT,),
        )
    mp4 = container_video("mp4")
    at = mp4.index(b"mdat") + 4
    index = mp4.index(b"moov") - 4
    zeroed = mp4[:at] + bytes(index - at) + mp4[index:]
    yield Hostile(name="mp4 of zeroed samples", data=zeroed, answers=(CORRUPT,))
    yield Hostile(name="mp4 without an index", data=mp4[: mp4.index(b"moov") - 4], answers=(CORRUPT,))
    yield Hostile(name="mp4 that is a type alone", data=mp4[:32], answers=(CORRUPT,))
    yield Hostile(name="boxes in boxes", data=_nested_boxes(), answers=(CORRUPT, EMPTY, NO_STREAM))
    yield Hostile(name="EBML alone", data=b"\x1a\x45\xdf\xa3\x80", answers=(CORRUPT, EMPTY, NO_STREAM))
    yield Hostile(name="elements in elements", data=_nested_elements(), answers=(CORRUPT, EMPTY, NO_STREAM))
    one = make_video(staircase(10), muxer="mpegts", codec="mpeg2video")
    other = make_video(staircase(10, 96, 96), muxer="mpegts", codec="mpeg2video")
    yield Hostile(name="two sizes in a transport stream", data=one + other, answers=(CHANGED,))
    big = make_video(staircase(10, 128, 128), muxer="mpeg", codec="mpeg2video")
    yield Hostile(
        name="two sizes in a program stream",
        data=make_video(staircase(10), muxer="mpeg", codec="mpeg2video") + big,
        answers=(CHANGED,),
    )


def _nested_boxes() -> bytes:
    data = b""
    for _ in range(5000):
        data = struct.pack(">I4s", len(data) + 8, b"moov") + data
    return b"\0\0\0\x10ftypisom\0\0\0\0" + data


def _nested_elements() -> bytes:
    return (
        b"\x1a\x45\xdf\xa3\x87\x42\x82\x84webm"
        + b"\x18\x53\x80\x67\x01"
        + b"\xff" * 7
        + (b"\x1f\x43\xb6\x75\x01" + b"\xff" * 7) * 5000
    )


def lying_files(canary: Path) -> Iterator[Hostile]:
    mp4 = container_video("mp4")
    sample = mp4.index(b"avc1", mp4.index(b"stsd")) + 4 + 24
    huge = mp4[:sample] + struct.pack(">HH", 30_000, 30_000) + mp4[sample + 4 :]
    yield Hostile(name="mp4 header of 30000 x 30000, small frames", data=huge, answers=(OK,))
    mkv = container_video("mkv")
    at = mkv.index(b"\xb0\x81\x40\xba\x81\x40")
    yield Hostile(
        name="mkv header of 16-bit sizes, small frames",
        data=mkv[:at] + b"\xb0\x81\xff\xba\x81\xff" + mkv[at + 6 :],
        answers=(OK,),
    )
    yield Hostile(
        name="mp4 whose samples are in another file", data=_elsewhere(mp4, canary), answers=(EMPTY, CORRUPT)
    )
    for at_share in (0.0, 0.5, 0.9):
        shifted = bytearray(mp4)
        start = mp4.index(b"stco") + 12
        shifted[start : start + 4] = int(len(mp4) * (1 + at_share)).to_bytes(4)
        yield Hostile(name=f"samples {at_share:.0%} beyond the end", data=bytes(shifted), answers=(CORRUPT,))
    yield Hostile(
        name="a rate of nothing", data=_patched(mp4, b"mdhd", 16, bytes(4)), answers=(OK, CORRUPT, TOO_LARGE)
    )
    yield Hostile(
        name="frames that last for years",
        data=_patched(mp4, b"stts", 16, b"\x7f\xff\xff\xff"),
        answers=(TOO_LARGE, CORRUPT),
    )


def _elsewhere(mp4: bytes, canary: Path) -> bytes:
    """Replace the reference to the file itself by QuickTime's alias of another one."""
    path = str(canary).encode()
    record = struct.pack(">HH", 2, len(path)) + path + bytes(len(path) % 2) + struct.pack(">hH", -1, 0)
    body = bytes(10 + 1 + 27 + 12 + 1 + 63 + 16) + struct.pack(">HH", 1, 1) + bytes(16) + record
    alias = struct.pack(">I4sI", 12 + len(body), b"alis", 0) + body
    at = mp4.index(b"url ") - 4
    data = bytearray(mp4[:at] + alias + mp4[at + 12 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = data.index(box) - 4
        length = int.from_bytes(data[start : start + 4]) + len(alias) - 12
        data[start : start + 4] = length.to_bytes(4)
    return bytes(data)


def _patched(data: bytes, box: bytes, offset: int, value: bytes) -> bytes:
    at = data.index(box) + offset
    return data[:at] + value + data[at + len(value) :]
