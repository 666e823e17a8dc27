"""H.264, HEVC and AV1 on clips."""

from __future__ import annotations

import io

import av
import numpy as np
import pytest
from PIL import Image

from cvivit.metrics import psnr_pooled
from tests.training.evaluate.moving_clips import moving
from training.evaluate.codecs.video import (
    VideoCodec,
    VideoEncoder,
    available_encoders,
    encode_frames,
    video_family,
)

each_encoder = pytest.mark.parametrize("encoder", available_encoders(), ids=lambda one: one.name)


@each_encoder
def test_codecs_trade_bits_for_quality(encoder: VideoEncoder) -> None:
    clip = moving(1).frames[None]
    coded = [(codec, codec.encode(clip)) for codec in video_family(encoder, 8).points]
    bits = [each.bits[0] for _, each in coded]
    assert bits == sorted(bits, reverse=True)
    psnr = [psnr_pooled(clip, codec.decode(each)) for codec, each in coded]
    assert psnr[0] > 30
    assert psnr[0] > psnr[-1] + 3
    assert coded[0][0].setting == f"crf {encoder.best}"


@each_encoder
def test_the_best_setting_within_a_budget_is_found(encoder: VideoEncoder) -> None:
    clip, fit = moving(2).frames[None], video_family(encoder, 8).fit
    assert fit is not None
    fitted = fit(clip, 3000.0)
    assert isinstance(fitted, VideoCodec)
    assert fitted.encode(clip).bits[0] <= 3000
    assert VideoCodec(encoder, fitted.factor - 1, 8).encode(clip).bits[0] > 3000
    worst = fit(clip, 1.0)
    assert isinstance(worst, VideoCodec)
    assert worst.factor == encoder.worst


@each_encoder
def test_odd_and_large_pictures_come_back_like_any(encoder: VideoEncoder) -> None:
    """Without a stated matrix, a large picture is taken for BT.709 and loses eight decibels."""
    pixels = np.asarray(Image.fromarray(moving(1).frames[0]).resize((592, 592), Image.Resampling.BICUBIC))

    def quality(height: int, width: int) -> float:
        clip = pixels[None, None, :height, :width].copy()
        codec = VideoCodec(encoder, encoder.best, 8)
        return psnr_pooled(clip, codec.decode(codec.encode(clip)))

    usual = quality(576, 576)
    assert quality(584, 584) == pytest.approx(usual, abs=1)
    assert quality(575, 573) == pytest.approx(usual, abs=1)


@each_encoder
def test_several_clips_are_coded_each_by_itself(encoder: VideoEncoder) -> None:
    clips = np.stack([moving(1).frames, moving(2).frames])
    codec = VideoCodec(encoder, 40, 8)
    together = codec.encode(clips)
    assert list(together.bits) == [codec.encode(clip[None]).bits[0] for clip in clips]
    assert codec.decode(together).shape == clips.shape


@each_encoder
def test_a_program_that_knows_nothing_of_ours_decodes_the_same_pictures(encoder: VideoEncoder) -> None:
    """FFmpeg reads the packets as a stream. Pictures are grey, on which all converters agree to a level."""
    clip = moving(3).frames[..., :1].repeat(3, axis=-1)
    packets = encode_frames(encoder, clip, encoder.best, 8.0)
    form = {"H.264": "h264", "HEVC": "hevc", "AV1": "obu"}[encoder.name]
    with av.open(io.BytesIO(b"".join(packets)), "r", format=form) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    codec = VideoCodec(encoder, encoder.best, 8.0)
    ours = codec.decode(codec.encode(clip[None]))[0]
    assert len(frames) == len(ours)
    assert np.abs(np.stack(frames).astype(int) - ours).mean() < 1.5
