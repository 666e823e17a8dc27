"""The discriminator and its losses against the figures of the reference."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.training.losses.reference import SEED, images, shapes, shapes_of
from training.losses.adversarial import (
    DiscriminatorLoss,
    discriminator_hinge,
    generator_hinge,
    gradient_penalty,
)
from training.losses.discriminator import Discriminator


@pytest.fixture(scope="module")
def discriminator(recipe: ModuleType) -> Discriminator:
    network = Discriminator((128, 128))
    network.load_state_dict(recipe.fill(network.state_dict(), SEED))
    return network


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
