"""Videos for the tests of the decoding pool."""

from __future__ import annotations

import pytest

from tests.videos import make_video, staircase


@pytest.fixture(scope="module")
def slow() -> bytes:
    """A video of 400 seconds and 3200 frames, which takes seconds to decode."""
    return make_video(staircase(50, 512, 512), muxer="mpegts", codec="mpeg2video") * 200
