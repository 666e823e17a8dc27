"""Files that look hostile but are good, and must be read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import av

from tests.hostile.answers import OK, Hostile
from tests.videos import container_video, grey, make_video, staircase


def odd_files() -> Iterator[Hostile]:
    frames = staircase(10)
    sound_ones: dict[str, Callable[[], bytes]] = {
        "rotated": lambda: make_video(frames, prepare=lambda stream: stream.set_display_rotation(90)),
        "10 bits": lambda: make_video(frames, pixel_format="yuv420p10le"),
        "4:4:4": lambda: make_video(frames, pixel_format="yuv444p"),
        "alpha": lambda: make_video(frames, muxer="webm", codec="libvpx-vp9", pixel_format="yuva420p"),
        "alpha in ProRes": lambda: make_video(
            frames, muxer="mov", codec="prores_ks", pixel_format="yuva444p10le"
        ),
        "odd sides": lambda: make_video(
            [grey(90, 33, 47)] * 3, muxer="mov", codec="png", pixel_format="rgb24"
        ),
        "one pixel": lambda: make_video([grey(90, 1, 1)] * 3, muxer="mov", codec="png", pixel_format="rgb24"),
        "one line": lambda: make_video(
            [grey(90, 1, 400)] * 3, muxer="mov", codec="png", pixel_format="rgb24"
        ),
        "variable rate": lambda: make_video(
            frames, times=[index**2 for index in range(10)], time_base=Fraction(1, 100)
        ),
        "interlaced": lambda: make_video(
            frames, muxer="mpegts", codec="mpeg2video", options={"flags": "+ildct+ilme"}
        ),
        "negative times": lambda: make_video(
            frames, muxer="matroska", times=[index - 5 for index in range(10)]
        ),
        "full range": lambda: make_video(frames, full_range=True),
        "in fragments": lambda: make_video(frames, mux_options={"movflags": "frag_keyframe+empty_moov"}),
        "live WebM": lambda: make_video(frames, muxer="webm", codec="libvpx-vp9", mux_options={"live": "1"}),
        "bytes after the end": lambda: container_video("mp4") + b"\0" * 1000,
        "metadata that is no UTF-8": lambda: _titled("mp4", "\udcff\udcfe"),
        "metadata of a megabyte": lambda: _titled("matroska", "x" * 2**20),
        "a title with markup": lambda: _titled("mp4", "<script>alert(1)</script>\r\n\0"),
    }
    for name, make in sound_ones.items():
        yield Hostile(name=name, data=make(), answers=(OK,))


def _titled(muxer: str, title: str) -> bytes:
    buffer = io.BytesIO()
    # A muxer takes only UTF-8, so other bytes are put in afterwards.
    mark = "title-of-the-video" if "\udcff" in title else title.split("\0")[0]
    with av.open(buffer, "w", format=muxer) as output:
        output.metadata["title"] = mark
        stream: Any = output.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for picture in staircase(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return buffer.getvalue().replace(b"title-of-the-video", b"\xff\xfe" * 9)


def oddly_named() -> Iterator[Hostile]:
    names = (
        "../../../../etc/passwd", "file:///etc/passwd", "concat:a|b.ts", "http://127.0.0.1/a.m3u8",
        "video%d.png", "x.m3u8", "-i", "a;rm -rf b", "a" * 2000, "\u202e4pm.exe", "nul",
    )  # fmt: skip
    for name in names:
        yield Hostile(
            name=f"a good file called {name[:24]!r}",
            data=container_video("mp4"),
            answers=(OK,),
            file_name=name,
        )
