"""Losses against the figures of the reference implementations, and against slower formulations."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.config import LossesConfig
from training.losses.adversarial import (
    DiscriminatorLoss,
    discriminator_hinge,
    generator_hinge,
    gradient_penalty,
)
from training.losses.discriminator import Discriminator
from training.losses.frozen import lpips_heads
from training.losses.generator import GeneratorLosses, drawn_frames, frames_of
from training.losses.i3d import BATCH_NORM_EPSILON, I3D, SamePool, pad_same, resize_frames
from training.losses.lpips import LPIPS
from training.losses.reconstruction import reconstruction_loss

SEED = 2026


def shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    return {key: (tuple(shape), kind) for key, (shape, kind) in json.loads(path.read_text()).items()}


def shapes_of(module: nn.Module) -> dict[str, tuple[tuple[int, ...], str]]:
    return {
        key: (tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for key, value in module.state_dict().items()
    }


@pytest.fixture(scope="module")
def i3d(recipe: ModuleType) -> I3D:
    network = I3D()
    state = recipe.fill(network.state_dict(), SEED)
    for key, value in state.items():
        if key.endswith("running_var"):
            state[key] = value.abs() + 1
        if key.endswith("bn.weight"):
            state[key] = value * 1.5
    network.load_state_dict(state)
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def lpips(recipe: ModuleType) -> LPIPS:
    network = LPIPS()
    features = recipe.fill(network.vgg.state_dict(), SEED)
    for key, value in features.items():
        if value.ndim == 4:
            features[key] = value * 1.4
    network.load_state_dict({f"vgg.{key}": value for key, value in features.items()} | lpips_heads())
    return network.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def discriminator(recipe: ModuleType) -> Discriminator:
    network = Discriminator((128, 128))
    network.load_state_dict(recipe.fill(network.state_dict(), SEED))
    return network


def images(generator: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(generator.random(shape, dtype=np.float32))


def test_lpips_agrees_with_the_reference(lpips: LPIPS, parity: Path) -> None:
    expected = json.loads((parity / "lpips.json").read_text())["distance"]
    generator = np.random.Generator(np.random.PCG64(SEED))
    a, b = images(generator, 3, 3, 64, 64), images(generator, 3, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(lpips(a, b), torch.tensor(expected), rtol=1e-4, atol=0)


def test_lpips_of_an_image_with_itself_is_zero_with_finite_gradients(lpips: LPIPS) -> None:
    flat = torch.zeros(1, 3, 32, 32, requires_grad=True)
    distance = lpips(flat, flat)
    distance.sum().backward()
    assert distance.item() == 0
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


def test_lpips_has_live_dropout_in_train_mode_alone(lpips: LPIPS) -> None:
    a, b = torch.rand(2, 1, 3, 32, 32)
    live = LPIPS()
    live.load_state_dict(lpips.state_dict())
    live.requires_grad_(False).train()
    assert not torch.equal(live(a, b), live(a, b))
    assert torch.equal(lpips(a, b), lpips(a, b))


def test_vgg16_keys_are_those_of_torchvision(lpips: LPIPS) -> None:
    convolutions = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    expected = {f"features.{n}.{part}" for n in convolutions for part in ("weight", "bias")}
    assert set(lpips.vgg.state_dict()) == expected


def test_i3d_keys_are_those_of_the_reference(i3d: I3D, parity: Path) -> None:
    assert shapes_of(i3d) == shapes(parity / "i3d_state_dict.json")


def slow_i3d(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """I3D once more from its published table: pads, convolutions and norms spelled out one by one."""

    def same(x: Tensor, kernel: int, stride: int) -> Tensor:
        for axis in (2, 3, 4):
            out = -(-x.shape[axis] // stride)
            total = max((out - 1) * stride + kernel - x.shape[axis], 0)
            before = list(x.shape)
            after = list(x.shape)
            before[axis], after[axis] = total // 2, total - total // 2
            x = torch.cat((x.new_zeros(before), x, x.new_zeros(after)), dim=axis)
        return x

    def unit(x: Tensor, name: str, stride: int = 1) -> Tensor:
        weight = state[f"{name}.conv3d.weight"]
        x = F.conv3d(same(x, weight.shape[-1], stride), weight, stride=stride)
        part = {
            key: state[f"{name}.bn.{key}"].view(1, -1, 1, 1, 1)
            for key in ("weight", "bias", "running_mean", "running_var")
        }
        normal = (x - part["running_mean"]) / (part["running_var"] + BATCH_NORM_EPSILON).sqrt()
        return (normal * part["weight"] + part["bias"]).clamp(min=0)

    def mixed(x: Tensor, name: str) -> Tensor:
        pooled = F.max_pool3d(same(x, 3, 1), 3, 1)
        return torch.cat(
            (
                unit(x, f"{name}.b0"),
                unit(unit(x, f"{name}.b1a"), f"{name}.b1b"),
                unit(unit(x, f"{name}.b2a"), f"{name}.b2b"),
                unit(pooled, f"{name}.b3b"),
            ),
            dim=1,
        )

    def pool_space(x: Tensor) -> Tensor:  # 224, 112 and 56 are even: SAME pads one row and column at the end
        return F.max_pool3d(F.pad(x, (0, 1, 0, 1)), (1, 3, 3), (1, 2, 2))

    x = unit(x, "Conv3d_1a_7x7", 2)
    x = unit(unit(pool_space(x), "Conv3d_2b_1x1"), "Conv3d_2c_3x3")
    x = mixed(mixed(pool_space(x), "Mixed_3b"), "Mixed_3c")
    x = F.max_pool3d(same(x, 3, 2), 3, 2)
    for letter in "bcdef":
        x = mixed(x, f"Mixed_4{letter}")
    x = mixed(mixed(F.max_pool3d(same(x, 2, 2), 2, 2), "Mixed_5b"), "Mixed_5c")
    return x[:, :, :2, :7, :7].mean(dim=(2, 3, 4))


def test_i3d_agrees_with_its_table_spelled_out(i3d: I3D) -> None:
    generator = np.random.Generator(np.random.PCG64(SEED))
    video = resize_frames(images(generator, 1, 3, 11, 64, 64))
    with torch.no_grad():
        features = i3d(video)
        expected = slow_i3d(i3d.state_dict(), video)
    assert features.shape == (1, 1024, 1)
    torch.testing.assert_close(features[..., 0], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("path", ["parity/i3d_features.npz"])
def test_i3d_agrees_with_the_reference_features(i3d: I3D, path: str) -> None:
    file = Path(__file__).parents[2].parent / "shared" / path
    if not file.exists():
        pytest.skip(f"{path} is not at hand")
    generator = np.random.Generator(np.random.PCG64(SEED))
    with torch.no_grad():
        features = i3d(resize_frames(images(generator, 2, 3, 11, 128, 128)))[..., 0]
    with np.load(file) as stored:
        expected = next(stored[key] for key in stored.files if stored[key].shape == (2, 1024))
    torch.testing.assert_close(features, torch.from_numpy(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("frames", "places"), [(2, 1), (8, 1), (9, 1), (16, 1), (17, 2)])
def test_i3d_takes_clips_of_any_length(frames: int, places: int) -> None:
    with torch.device("meta"):
        assert I3D()(torch.empty(2, 3, frames, 224, 224)).shape == (2, 1024, places)


def test_i3d_in_train_mode_uses_the_batch_and_keeps_its_statistics(i3d: I3D) -> None:
    before = {key: value.clone() for key, value in i3d.state_dict().items()}
    unit = i3d.get_submodule("Conv3d_2b_1x1").train()
    x = torch.randn(2, 64, 2, 4, 4)
    try:
        out = unit(x)
    finally:
        unit.eval()
    convolved = F.conv3d(x, before["Conv3d_2b_1x1.conv3d.weight"])
    mean = convolved.mean(dim=(0, 2, 3, 4), keepdim=True)
    variance = convolved.var(dim=(0, 2, 3, 4), unbiased=False, keepdim=True)
    normal = (convolved - mean) / (variance + BATCH_NORM_EPSILON).sqrt()
    gain, shift = (before[f"Conv3d_2b_1x1.bn.{part}"].view(-1, 1, 1, 1) for part in ("weight", "bias"))
    torch.testing.assert_close(out, F.relu(normal * gain + shift), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in i3d.state_dict().items())


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [(11, 7, 2, (3, 3)), (224, 7, 2, (2, 3)), (112, 3, 2, (0, 1)), (3, 2, 2, (0, 1)), (6, 2, 2, (0, 0))],
)
def test_same_padding_puts_the_odd_one_at_the_end(
    size: int, kernel: int, stride: int, padding: tuple[int, int]
) -> None:
    padded = pad_same(torch.ones(1, 1, size, 1, 1), (kernel, 1, 1), (stride, 1, 1)).flatten()
    assert (int((padded.cumsum(0) == 0).sum()), int((padded.flip(0).cumsum(0) == 0).sum())) == padding


def test_pools_keep_ceil_of_size_over_stride() -> None:
    assert SamePool((3, 3, 3), (2, 2, 2))(torch.zeros(1, 1, 3, 7, 8)).shape[2:] == (2, 4, 4)


def test_discriminator_keys_are_those_of_the_reference(discriminator: Discriminator, parity: Path) -> None:
    assert shapes_of(discriminator) == shapes(parity / "discriminator_state_dict.json")


def test_discriminator_agrees_with_the_reference(discriminator: Discriminator, parity: Path) -> None:
    expected = json.loads((parity / "discriminator.json").read_text())
    generator = np.random.Generator(np.random.PCG64(SEED))
    images(generator, 2, 3, 11, 128, 128)
    real, fake = images(generator, 4, 3, 128, 128), images(generator, 4, 3, 128, 128)
    real.requires_grad_()
    real_logits, fake_logits = discriminator(real), discriminator(fake)
    figures = {
        "real": real_logits,
        "fake": fake_logits,
        "discriminator_hinge": discriminator_hinge(real_logits, fake_logits),
        "generator_hinge": generator_hinge(fake_logits),
        "gradient_penalty_weight_10": 10 * gradient_penalty(real, real_logits),
    }
    for name, value in figures.items():
        torch.testing.assert_close(value.detach(), torch.tensor(expected[name]), rtol=1e-4, atol=1e-6)


def test_the_discriminator_step_differentiates_its_penalty() -> None:
    discriminator = Discriminator((32, 32), base_width=2)
    loss = DiscriminatorLoss(discriminator, penalty_weight=10)
    real, fake = torch.rand(2, 2, 3, 32, 32)
    fake.requires_grad_()
    hinge, penalty = loss(real, fake)
    gradients = torch.autograd.grad(penalty, discriminator.get_parameter("blocks.0.net.0.weight"))
    assert gradients[0].abs().sum() > 0
    assert torch.autograd.grad(hinge, fake, allow_unused=True) == (None,)


@pytest.mark.parametrize("size", [(32, 48), (64, 64)])
def test_the_discriminator_takes_other_sizes(size: tuple[int, int]) -> None:
    assert Discriminator(size, base_width=2)(torch.rand(2, 3, *size)).shape == (2,)


def test_the_discriminator_refuses_sizes_it_cannot_halve() -> None:
    with pytest.raises(ValueError, match="cannot be halved"):
        Discriminator((72, 100))


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
