"""The number of frames that an index claims is checked before anything is read because of it."""

from __future__ import annotations

import io

import pytest

from cvivit.errors import VideoTooLargeError
from cvivit.video import VideoLimits, read_frames
from cvivit.video.containers.index_claims import claimed_frames
from tests.videos import container_video, make_video, staircase


@pytest.mark.parametrize("name", ["mp4", "mov"])
def test_the_frames_of_a_sound_file(name: str) -> None:
    assert claimed_frames(io.BytesIO(container_video(name))) == 50


def test_a_claim_beyond_the_limit_is_refused_unread() -> None:
    data = bytearray(make_video(staircase(3)))
    at = data.index(b"stsz") + 12
    data[at : at + 4] = (2_000_000_000).to_bytes(4)
    with pytest.raises(VideoTooLargeError) as raised:
        list(read_frames(bytes(data), limits=VideoLimits(max_frames=1000)))
    assert (raised.value.limit_name, raised.value.actual) == ("max_frames", 2_000_000_000)


def test_boxes_inside_themselves_and_without_end() -> None:
    nested = b"\0\0\0\0moov\0\0\0\0trak\0\0\0\0mdia\0\0\0\0minf\0\0\0\0stbl\0\0\0\0stsz"
    assert claimed_frames(io.BytesIO(nested * 1000)) == 0
    assert claimed_frames(io.BytesIO(b"\0\0\0\x08moov" * 300_000)) == 0
