"""The configuration: presets, validation and arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from cvivit import CViViTConfig


def test_released_arithmetic() -> None:
    config = CViViTConfig.released()
    assert config.grid == (6, 16, 16)
    assert config.tokens_per_clip == 1536
    assert config.clip_shape == (11, 128, 128, 3)
    assert config.ff_inner == 1365
    assert [config.clips(n) for n in (1, 11, 12, 22, 23)] == [1, 1, 2, 2, 3]


@pytest.mark.parametrize("frames", [1, 3, 11, 21])
def test_frames_and_latent_frames_are_inverse(frames: int) -> None:
    config = CViViTConfig.released()
    assert config.frames(config.latent_frames(frames)) == frames


@pytest.mark.parametrize("frames", [0, -1, 2, 10])
def test_frames_that_make_no_latent_frame_are_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=f"^{frames} frames"):
        CViViTConfig.released().latent_frames(frames)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"image_size": 100}, "image_size: a height of 100"),
        ({"image_size": (128, 100)}, "image_size: a width of 100"),
        ({"clip_frames": 10}, "clip_frames: 10"),
        ({"quantizer": "lfq", "codebook_dim": 12}, "codebook_dim: lookup-free codes of width 12 number 4096"),
        ({"temporal_bias": "alibi", "heads": 6}, "power of two, not 6"),
        ({"dim": 0}, "dim"),
        ({"fps": float("inf")}, "fps"),
        ({"fps": 1001}, "fps"),
        ({"fps": 0.001}, "fps"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_what_describes_no_network_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CViViTConfig(**wrong)


def test_presets_differ_where_they_say() -> None:
    released, paper, demo = CViViTConfig.released(), CViViTConfig.paper(), CViViTConfig.demo()
    assert (released.causal, released.temporal_peg, released.patch_norm) == (False, "scrambled", "layernorm")
    for sound in (paper, demo):
        assert (sound.causal, sound.temporal_peg, sound.patch_norm) == (True, "aligned", "fixed")
    assert CViViTConfig.lucidrains(lookup_free=False, dim=64).codebook_dim == 64
    assert CViViTConfig.lucidrains(codebook_size=256).codebook_dim == 8


def test_json_round_trip_and_frozen() -> None:
    config = CViViTConfig.demo(image_size=(64, 96))
    assert CViViTConfig.model_validate_json(config.model_dump_json()) == config
    with pytest.raises(ValidationError, match="frozen"):
        config.dim = 3
