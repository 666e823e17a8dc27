"""LPIPS against the figures of the reference."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from tests.training.losses.reference import SEED, images
from training.losses.lpips import LPIPS


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
