"""A cut in an open group of pictures leaves pictures whose references are missing. They are left out."""

from __future__ import annotations

import io

import av
import pytest

from tests.barcodes import KINDS, encode_bars, remux
from tests.cvivit.video.test_bars import read
from training.evaluate.codecs.video import X265_OPTIONS

COUNT = 48
INTERVAL = 12


def open_groups(name: str) -> bytes:
    x265 = f"{X265_OPTIONS}:qp=12:bframes=3:b-adapt=0:open-gop=1:keyint={INTERVAL}:min-keyint={INTERVAL}"
    x264 = f"open-gop=1:keyint={INTERVAL}:min-keyint={INTERVAL}:bframes=3:b-adapt=0:scenecut=0"
    options = {"x265-params": x265} if "hevc" in name else {"bf": "3", "x264-params": x264}
    return encode_bars(KINDS[name], range(COUNT), options=options)


def cut(data: bytes, muxer: str, keyframe: int) -> tuple[bytes, int]:
    """Return a file that begins at a keyframe, and the number of that frame."""
    with av.open(io.BytesIO(data), "r") as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        unit = packets[0].duration or 1
    first = [index for index, packet in enumerate(packets) if packet.is_keyframe][keyframe]
    origin = packets[first].pts or 0

    def restamp(index: int, pts: int, dts: int) -> tuple[int, int] | None:
        return None if index < first else (pts - origin, dts - origin)

    options = {"avoid_negative_ts": "disabled"} if muxer != "mpegts" else {}
    return remux(data, muxer, restamp, mux_options=options), origin // unit


@pytest.mark.parametrize("keyframe", [1, 2])
@pytest.mark.parametrize(
    ("name", "muxer"),
    [
        ("mp4 h264", "matroska"),
        ("mp4 h264", "mp4"),
        ("mp4 hevc", "matroska"),
        ("mp4 hevc", "mp4"),
        ("mp4 hevc", "mpegts"),
    ],
)
def test_a_cut_in_an_open_group(name: str, muxer: str, keyframe: int) -> None:
    data, first = cut(open_groups(name), muxer, keyframe)
    assert read(data, fps=24) == list(range(first, COUNT))
    assert read(data) == list(range(first, COUNT))[::3]
