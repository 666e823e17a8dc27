"""Truncation: every truncated container is noticed, and no complete one is taken for truncated."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable

import numpy as np
import pytest

from cvivit.errors import CorruptVideoError, UnsupportedMediaError
from cvivit.video import ClipFormat, encode_video, read_frames
from cvivit.video.containers.completeness import check_complete
from cvivit.video.containers.kinds import HEAD_BYTES, Container, sniff
from tests.videos import CONTAINERS, container_video, make_video, staircase

TINY = ClipFormat(image_size=(8, 8))

STREAMED = {
    "fragmented MP4": ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
    "live WebM": ("webm", {"live": "1"}),
}


def streamed_video(name: str) -> bytes:
    muxer, options = STREAMED[name]
    codec = "libvpx-vp9" if muxer == "webm" else "libx264"
    return make_video(staircase(50), muxer=muxer, codec=codec, options={"g": "10"}, mux_options=options)


def disc_video() -> bytes:
    """Two seconds as a camcorder writes them (M2TS): four bytes of time code before every packet."""
    options = {"qmin": "1", "qmax": "1"}
    return make_video(
        staircase(50),
        muxer="mpegts",
        codec="mpeg2video",
        options=options,
        mux_options={"mpegts_m2ts_mode": "1"},
    )


def broadcast_video() -> bytes:
    """Two seconds as they are sent: sixteen bytes of error correction after every packet."""
    plain = container_video("ts")
    return b"".join(plain[at : at + 188] + bytes(16) for at in range(0, len(plain), 188))


def check(data: bytes) -> None:
    container = sniff(data[:HEAD_BYTES])
    assert container is not None
    check_complete(io.BytesIO(data), container)


@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_a_cut_is_noticed_wherever_it_is(name: str) -> None:
    data = container_video(name)
    check(data)
    for cut in np.random.default_rng(0).integers(len(data) // 10, len(data) - 8, 200):
        if name == "ts" and cut % 188 == 0:
            continue  # whole packets: nothing shows the cut
        with pytest.raises(CorruptVideoError, match="truncated"):
            check(data[:cut])


@pytest.mark.parametrize(("video", "packet"), [(disc_video, 192), (broadcast_video, 204)])
def test_transport_streams_of_longer_packets(video: Callable[[], bytes], packet: int) -> None:
    data = video()
    assert len(data) % packet == 0
    assert len(list(read_frames(data, ClipFormat(image_size=(8, 8), fps=25)))) == 50
    check(data[: -3 * packet])  # whole packets: nothing shows the cut
    for missing in (1, 4, 16, 100, packet - 1):
        with pytest.raises(CorruptVideoError, match="truncated"):
            check(data[:-missing])


@pytest.mark.parametrize("name", STREAMED)
def test_a_cut_recording_is_noticed_unless_it_ends_with_a_whole_part(name: str) -> None:
    data = streamed_video(name)
    check(data)
    unnoticed = []
    for cut in range(len(data) // 2, len(data)):
        try:
            check(data[:cut])
        except CorruptVideoError:
            continue
        unnoticed.append(cut)
    assert len(unnoticed) <= 24  # the ends of five parts and the index, and up to three zeros after each


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("name", sorted(CONTAINERS))
def test_a_truncated_video_is_an_error_not_a_shorter_video(name: str, share: float) -> None:
    data = container_video(name)
    cut = int(len(data) * share)
    cut += name == "ts" and cut % 188 == 0
    with pytest.raises((CorruptVideoError, UnsupportedMediaError)):
        list(read_frames(data[:cut], TINY))


def test_samples_beyond_the_end_of_a_whole_looking_file() -> None:
    data = encode_video(staircase(50), fps=25)
    at = data.index(b"mdat") - 4
    kept = (len(data) - at) // 2
    patched = data[:at] + kept.to_bytes(4) + data[at + 4 : at + kept]
    check(patched)
    with pytest.raises(CorruptVideoError):
        list(read_frames(patched, TINY))


@pytest.mark.parametrize(
    ("name", "tail"),
    [
        ("mp4", b"\0" * 100),
        ("mp4", b"camera"),
        ("mp4", b"not a box at all"),
        ("mkv", b"\0\0"),
        ("gif", b"\0junk"),
    ],
)
def test_bytes_after_the_end_are_let_through(name: str, tail: bytes) -> None:
    check(container_video(name) + tail)


def test_a_gif_without_its_trailer_is_whole() -> None:
    data = container_video("gif")
    assert data.endswith(b"\x3b")
    check(data[:-1])


def test_an_avi_that_never_learned_its_length_is_whole() -> None:
    data = bytearray(container_video("avi"))
    data[4:8] = bytes(4)
    check(bytes(data))


@pytest.mark.parametrize(
    ("data", "container"),
    [
        (b"\0\0\0\x08free" * 2_000_000, Container.ISO),
        (b"GIF89a" + b"\1\0\1\0\0\0\0" + b"\x21\xfe" + b"\1x" * 4_000_000, Container.GIF),
        (b"\x18\x53\x80\x67\x01" + b"\xff" * 7 + b"\xec\x80" * 4_000_000, Container.MATROSKA),
        (b"\0\0\1\xba" * 2_000_000, Container.MPEG_PS),
    ],
    ids=["boxes", "blocks", "elements", "packs"],
)
@pytest.mark.timeout(20)
def test_millions_of_tiny_parts_do_not_cost_a_minute(data: bytes, container: Container) -> None:
    with contextlib.suppress(CorruptVideoError):
        check_complete(io.BytesIO(data), container)
