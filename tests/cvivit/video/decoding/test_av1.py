"""Frames of AV1 that no other frame refers to are found, and leaving them out changes no other frame."""

from __future__ import annotations

import io
from collections.abc import Callable
from unittest import mock

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvivit import CViViTConfig
from cvivit.video import ClipFormat, read_clips
from cvivit.video.decoding import av1
from cvivit.video.decoding.av1 import Sequence, is_droppable, sequence_in, sequence_of_track
from tests.videos import make_video

OPTIONS = {
    "hierarchical": {"preset": "10", "crf": "30", "svtav1-params": "lp=1"},
    "for screens": {"preset": "8", "crf": "30", "svtav1-params": "lp=1:scm=1"},
    "low delay": {"preset": "10", "crf": "30", "svtav1-params": "lp=1:pred-struct=1"},
}
SEQUENCE = Sequence(frame_id_bits=0, order_hint_bits=7, screen_content=2, integer_vectors=2)


def moving(count: int = 100) -> list[np.ndarray]:
    """Return pictures of noise that moves over a slope."""
    noise = np.random.default_rng(0).integers(0, 80, (160, 224, 3))
    slope = np.linspace(0, 150, 224)[None, :, None]
    pictures = (
        np.roll(noise, (index, 2 * index), (0, 1)) + np.roll(slope, 3 * index, 1) for index in range(count)
    )
    return [picture.astype(np.uint8) for picture in pictures]


@pytest.fixture(scope="module")
def coded() -> Callable[[str], bytes]:
    files: dict[str, bytes] = {}

    def of(name: str) -> bytes:
        if name not in files:
            files[name] = make_video(moving(), codec="libsvtav1", options=OPTIONS[name], fps=30)
        return files[name]

    return of


def decoded(data: bytes, *, drop: bool) -> tuple[dict[int, np.ndarray], int]:
    """Return the frames by their time, and how many packets were left out."""
    frames: dict[int, np.ndarray] = {}
    dropped = 0
    with av.open(io.BytesIO(data), "r") as container:
        stream = container.streams.video[0]
        sequence = sequence_of_track(stream.codec_context.extradata or b"")
        assert sequence is not None
        for packet in container.demux(stream):
            if packet.size:
                sequence = sequence_in(memoryview(packet)) or sequence
                if drop and is_droppable(memoryview(packet), sequence):
                    dropped += 1
                    continue
            for frame in stream.codec_context.decode(packet if packet.size else None):
                assert frame.pts is not None
                frames[frame.pts] = frame.to_ndarray()
    return frames, dropped


@pytest.mark.parametrize("name", OPTIONS)
def test_the_other_frames_stay_the_same_to_the_bit(coded: Callable[[str], bytes], name: str) -> None:
    whole, _ = decoded(coded(name), drop=False)
    rest, dropped = decoded(coded(name), drop=True)
    assert len(rest) == len(whole) - dropped
    assert dropped > 0
    for pts, frame in rest.items():
        np.testing.assert_array_equal(frame, whole[pts])


@pytest.mark.parametrize("threads", [1, 2])
def test_a_reader_leaves_frames_out_and_gives_the_same_pictures(
    coded: Callable[[str], bytes], threads: int
) -> None:
    clip_format = ClipFormat.of(CViViTConfig.demo())
    asked: list[bool] = []

    def watched(data: memoryview, sequence: Sequence) -> bool:
        asked.append(is_droppable(data, sequence))
        return asked[-1]

    with mock.patch.object(av1, "is_droppable", watched):
        pictures = list(read_clips(coded("hierarchical"), clip_format, threads=threads))
    assert any(asked)
    with mock.patch.object(av1, "is_droppable", return_value=False):
        every = list(read_clips(coded("hierarchical"), clip_format, threads=threads))
    np.testing.assert_array_equal(pictures, every)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer(data: bytes) -> None:
    assert isinstance(is_droppable(data, SEQUENCE), bool)
    sequence_in(data)
    sequence_of_track(data)


def test_a_packet_that_was_cut_off_is_decoded(coded: Callable[[str], bytes]) -> None:
    with av.open(io.BytesIO(coded("hierarchical")), "r") as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    found = [packet for packet in packets if is_droppable(packet, SEQUENCE)]
    assert found
    for packet in found:
        assert not any(is_droppable(packet[:length], SEQUENCE) for length in range(min(len(packet), 12)))
