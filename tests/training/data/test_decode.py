"""Decoding the bytes of a sample, which may come from an untrusted shard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvivit.shards.reading import RawSample
from cvivit.video import VideoLimits, encode_video
from training.data import decode
from training.data.decode import decode_clip
from training.errors import SampleError


def sample(data: bytes) -> RawSample:
    return RawSample(shard="s.tar", key="a", suffix="mp4", data=data)


def film(frames: int = 5) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (frames, 32, 48, 3), dtype=np.uint8)
    return encode_video(noise, fps=8)


def test_frames_come_as_they_are_stored() -> None:
    assert decode_clip(sample(film())).frames.shape == (5, 32, 48, 3)
    assert decode_clip(sample(film())).fps == 8


def test_a_sample_cannot_name_other_files(tmp_path: Path) -> None:
    """Without options, FFmpeg would follow each of these references to the film and read it."""
    (tmp_path / "film.mp4").write_bytes(film())
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/film.mp4\n#EXT-X-ENDLIST\n"
    concatenation = f"ffconcat version 1.0\nfile {tmp_path}/film.mp4\n"
    for text in (playlist, concatenation):
        with pytest.raises(SampleError, match="not a sound video"):
            decode_clip(sample(text.encode()))


def test_a_truncated_sample_is_refused_whole() -> None:
    with pytest.raises(SampleError, match=r"s\.tar#a: not a sound video \(the video is truncated"):
        decode_clip(sample(film()[:-200]))


def test_a_film_is_not_decoded_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "_LIMITS", VideoLimits())
    monkeypatch.setattr(decode, "MAX_FRAMES", 4)
    with pytest.raises(SampleError, match="more than 4 frames"):
        decode_clip(sample(film()))
