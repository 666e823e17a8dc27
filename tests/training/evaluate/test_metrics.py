from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cvivit.metrics import frechet_distance
from training.evaluate.metrics import clip_features, clip_lpips
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    video = torch.randint(0, 256, (3, 4, 32, 32, 3), dtype=torch.uint8, generator=generator)
    noise = torch.tensor([4, 16, 64]).view(3, 1, 1, 1, 1) * torch.randn(video.shape, generator=generator)
    return video, (video + noise).round().clamp(0, 255).to(torch.uint8)


def frames(video: Tensor) -> Tensor:
    return video.flatten(0, 1).permute(0, 3, 1, 2).float() / 255


def test_lpips_is_the_mean_over_frames(pair: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    network = LPIPS().eval()
    video, reconstruction = pair
    per_frame = network(frames(reconstruction), frames(video)).detach().view(3, 4)
    assert torch.allclose(clip_lpips(network, video, reconstruction), per_frame.mean(1), rtol=1e-4, atol=1e-7)


def test_features_are_one_vector_a_clip(pair: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(0)
    features = clip_features(I3D().eval(), pair[0][:2])
    assert features.shape == (2, 1024)
    assert not features.requires_grad


def test_fvd_of_a_set_with_itself_is_zero_and_grows_with_noise() -> None:
    torch.manual_seed(0)
    network = I3D().eval()
    video = torch.randint(60, 200, (3, 3, 8, 8, 3)).repeat_interleave(4, 2).repeat_interleave(4, 3)
    features = [
        clip_features(
            network, (video + amount * torch.randn(video.shape)).clamp(0, 255).to(torch.uint8)
        ).numpy()
        for amount in (0, 5, 50)
    ]
    distances = [frechet_distance(features[0], others) for others in features]
    assert 1e4 * distances[0] < distances[1] < distances[2]
