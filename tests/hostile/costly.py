"""Files that cost more than they should: many pixels, frames, seconds, streams, or claims of them."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import av

from tests.hostile.answers import CORRUPT, EMPTY, OUT_OF_MEMORY, TOO_LARGE, Hostile
from tests.videos import grey, make_video, staircase


def costly_files() -> Iterator[Hostile]:
    for muxer, codec in {
        "mp4": "libx264",
        "matroska": "mjpeg",
        "mpegts": "mpeg2video",
        "avi": "mpeg4",
        "avif": "libsvtav1",
    }.items():
        pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        data = make_video([grey(90, 1040, 1920)], muxer=muxer, codec=codec, pixel_format=pixel_format)
        yield Hostile(name=f"too many pixels in {muxer}", data=data, answers=(TOO_LARGE,))
    screen = b"GIF89a" + struct.pack("<HH", 15_000, 15_000) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    picture = b"\x2c" + struct.pack("<HHHH", 0, 0, 15_000, 15_000) + b"\0\x02\x02\x44\x01\0;"
    yield Hostile(name="GIF of 15000 x 15000", data=screen + picture, answers=(TOO_LARGE, CORRUPT))
    many = make_video(staircase(60) * 6, codec="mpeg4", fps=60)
    yield Hostile(name="too many frames", data=many, answers=(TOO_LARGE,))
    long = make_video(staircase(62), codec="mpeg4", fps=1)
    yield Hostile(name="too many seconds", data=long, answers=(TOO_LARGE,))
    for muxer in ("matroska", "mp4"):
        gap = make_video(staircase(3), muxer=muxer, codec="mpeg4", times=[0, 3, 100_000])
        yield Hostile(name=f"a gap of an hour in {muxer}", data=gap, answers=(TOO_LARGE,))
    yield Hostile(name="five streams", data=_streams(5), answers=(TOO_LARGE,))
    yield Hostile(name="two hundred streams", data=_streams(200), answers=(TOO_LARGE,))
    for samples in (50_000_000, 89_000_000, 2**32 - 1):
        yield Hostile(name=f"an index of {samples}", data=index_bomb(samples), answers=(TOO_LARGE,))
    for edits in (10_000, 500_000):
        yield Hostile(
            name=f"an edit list that shows the video {edits} times",
            data=edited([(2000, 0)] * edits),
            answers=(TOO_LARGE,),
        )
    yield Hostile(name="an edit list of nothing", data=edited([(1, -1)] * 500_000), answers=(EMPTY,))
    yield Hostile(name="an edit list that goes backwards", data=edited(backwards()), answers=(TOO_LARGE,))
    yield Hostile(name="an edit beyond the end", data=edited([(2000, 2**31 - 1)]), answers=(CORRUPT, EMPTY))
    yield Hostile(
        name="a fragment of 89 million samples",
        data=fragment_bomb(),
        answers=(OUT_OF_MEMORY,),
    )


def _streams(count: int) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as output:
        streams: list[Any] = [output.add_stream("mpeg4", rate=25) for _ in range(count)]
        for stream in streams:
            stream.width = stream.height = 16
            stream.pix_fmt = "yuv420p"
        for stream in streams:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(grey(100, 16, 16), format="rgb24")))
            output.mux(stream.encode(None))
    return buffer.getvalue()


def index_bomb(samples: int) -> bytes:
    """Return a small MP4 whose index claims any number of samples, in run-length form."""
    data = make_video(staircase(3), codec="mpeg4")
    for table in (
        struct.pack(">4sIII", b"stsz", 0, 1, samples),
        struct.pack(">4sIIII", b"stts", 0, 1, samples, 512),
        struct.pack(">4sIIIII", b"stsc", 0, 1, 1, samples, 1),
    ):
        at = data.index(table[:4])
        data = data[:at] + table + data[at + len(table) :]
    return data


def backwards() -> list[tuple[int, int]]:
    """Return edits, each of which begins one frame before the previous one."""
    return [(2000, 512 * (49 - index)) for index in range(50)]


def edited(edits: Sequence[tuple[int, int]]) -> bytes:
    """Return an MP4 of 50 frames with an edit list of (duration, start). A start of -1 shows nothing."""
    data = bytearray(make_video(staircase(50), codec="mpeg4"))
    entries = b"".join(struct.pack(">IiI", *edit, 0x10000) for edit in edits)
    table = struct.pack(">I4sII", 16 + len(entries), b"elst", 0, len(edits)) + entries
    at = data.index(b"edts") - 4
    length = int.from_bytes(data[at : at + 4])
    data[at : at + length] = struct.pack(">I4s", 8 + len(table), b"edts") + table
    for box in (b"moov", b"trak"):
        start = data.index(box) - 4
        grown = int.from_bytes(data[start : start + 4]) + 8 + len(table) - length
        data[start : start + 4] = grown.to_bytes(4)
    return bytes(data)


def fragment_bomb() -> bytes:
    """Return a fragmented MP4 that claims a run of millions of samples without a byte for any of them."""
    data = make_video(
        staircase(3), codec="mpeg4", mux_options={"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    )
    at = data.index(b"trun")
    return data[:at] + struct.pack(">4sII", b"trun", 0, 89_000_000) + data[at + 12 :]
