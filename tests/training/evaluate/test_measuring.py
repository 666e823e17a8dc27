"""The figures of clips, and the networks that they need."""

from __future__ import annotations

import torch

from tests.training.evaluate.moving_clips import moving
from training.evaluate.clips import EvaluationClip
from training.evaluate.measuring import PerceptualNetworks, measure_clip
from training.losses.lpips import LPIPS


def test_frames_that_pad_a_clip_are_not_measured() -> None:
    clip = moving(0)
    broken = clip.frames.copy()
    broken[3:] = 0
    padded = EvaluationClip(key="padded", frames=clip.frames, real=3)
    assert measure_clip(padded, broken, PerceptualNetworks()).mse == 0
    assert measure_clip(clip, broken, PerceptualNetworks()).mse > 0


def test_clips_go_to_where_the_networks_are() -> None:
    """The device "meta" computes nothing, and its tensors cannot be mixed with those of another device."""
    meta, clip = torch.device("meta"), moving(1)
    networks = PerceptualNetworks(lpips=LPIPS().eval().to(meta), device=meta)
    video = torch.from_numpy(clip.frames)[None]
    distance = networks.distance(video, video, networks.wanted(clip))
    assert distance is not None
    assert (distance.device, distance.shape) == (meta, (1, 5))
