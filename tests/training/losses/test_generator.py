"""The generator's losses together: their weights, and the frames that each of them looks at."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.training.losses.reference import SEED
from training.config.schema import LossesConfig
from training.losses.generator import GeneratorLosses, drawn_frames, frames_of
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS
from training.losses.reconstruction import reconstruction_loss


def test_reconstruction_is_the_mean_squared_error_unclamped() -> None:
    assert float(reconstruction_loss(torch.full((1, 3, 1, 2, 2), 1.5), torch.zeros(1, 3, 1, 2, 2))) == 2.25


def test_losses_of_weight_zero_are_left_out_and_the_rest_weighed_by_name() -> None:
    losses = GeneratorLosses(LossesConfig(reconstruction=10, lpips=0, i3d=0))
    a, b = torch.rand(2, 1, 3, 3, 8, 8)
    values = losses(a, b)
    assert set(values) == {"reconstruction"}
    values["commitment"] = torch.tensor(2.0)
    torch.testing.assert_close(losses.total(values), 10 * F.mse_loss(a, b) + 0.1 * 2)


def test_a_loss_with_a_weight_needs_its_network() -> None:
    with pytest.raises(ValueError, match="needs its network"):
        GeneratorLosses(LossesConfig(lpips=1, i3d=0))


def test_stills_have_no_video_loss_and_the_range_of_i3d_is_a_setting(lpips: LPIPS) -> None:
    seen: list[Tensor] = []

    class Spy(I3D):
        def forward(self, video: Tensor) -> Tensor:
            seen.append(video)
            return video.mean(dim=(2, 3, 4))

    a, b = torch.rand(2, 1, 3, 3, 8, 8)
    losses = GeneratorLosses(LossesConfig(lpips=0, i3d_range="signed"), i3d=Spy())
    assert set(losses(a[:, :, :1], b[:, :, :1])) == {"reconstruction"}
    assert set(losses(a, b)) == {"reconstruction", "i3d"}
    assert min(float(video.min()) for video in seen) < -0.5
    seen.clear()
    GeneratorLosses(LossesConfig(lpips=0, i3d_range="unit"), i3d=Spy())(a, b)
    assert min(float(video.min()) for video in seen) >= 0


def test_frames_come_clip_by_clip() -> None:
    video = torch.arange(6.0).view(2, 1, 3, 1, 1)
    assert frames_of(video).flatten().tolist() == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("number", [None, 5, 9])
def test_all_frames_are_looked_at_unless_fewer_are_asked_for(number: int | None) -> None:
    assert drawn_frames(torch.zeros(2, 3, 5, 1, 1), number) == slice(None)


def test_as_many_frames_of_each_clip_are_drawn_as_are_asked_for() -> None:
    video = torch.arange(4 * 6).view(4, 1, 6, 1, 1)
    seen = set()
    for _ in range(50):
        drawn = frames_of(video)[drawn_frames(video, 2)].flatten().view(4, 2)
        assert (drawn // 6 == torch.arange(4).unsqueeze(1)).all()
        assert all(len(set(row)) == 2 for row in drawn.tolist())
        seen |= set(drawn.flatten().tolist())
    assert seen == set(range(24))


def test_drawn_frames_follow_torchs_state() -> None:
    video = torch.zeros(3, 3, 11, 1, 1)
    torch.manual_seed(7)
    first = drawn_frames(video, 3)
    torch.manual_seed(7)
    assert torch.equal(first, drawn_frames(video, 3))


def test_i3d_looks_at_the_first_clips_alone(i3d: I3D) -> None:
    generator = torch.Generator().manual_seed(SEED)
    pair = torch.rand(2, 2, 3, 9, 16, 16, generator=generator)
    alone = LossesConfig(reconstruction=0, lpips=0, i3d=1)
    some = GeneratorLosses(alone.model_copy(update={"i3d_clips": 1}), i3d=i3d)(*pair)["i3d"]
    first = GeneratorLosses(alone, i3d=i3d)(*pair[:, :1])["i3d"]
    torch.testing.assert_close(some, first)
