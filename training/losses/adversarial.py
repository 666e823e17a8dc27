"""The adversarial losses: hinge losses for both sides, and the discriminator's gradient penalty."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from training.losses.convolution import inputs_only


def generator_hinge(fake: Tensor) -> Tensor:
    """Return -mean(fake) of logits `b`."""
    return -fake.mean()


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Return mean(relu(1 + fake) + relu(1 - real)) of logits `b`."""
    return (F.relu(1 + fake) + F.relu(1 - real)).mean()


def gradient_penalty(images: Tensor, logits: Tensor) -> Tensor:
    """Return the mean of (|gradient of the summed logits `b` at `images` b c h w| - 1)^2, norms per image."""
    with inputs_only():
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    norm = torch.linalg.vector_norm(rearrange(gradient.float(), "b c h w -> b (c h w)"), dim=1)
    return (norm - 1).square().mean()


class DiscriminatorLoss(nn.Module):
    """The discriminator's whole step as one forward pass, so that DistributedDataParallel can wrap it.

    Args:
        discriminator: maps frames `b c h w` to logits `b`.
        penalty_weight: weight of the gradient penalty on real frames. 0 leaves it out.
    """

    def __init__(self, discriminator: nn.Module, *, penalty_weight: float) -> None:
        super().__init__()
        self.discriminator = discriminator
        self.penalty_weight = penalty_weight

    def forward(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """Return the hinge loss and the weighted penalty for frames `b c h w`, which get no gradient."""
        real = real.detach().requires_grad_(self.penalty_weight > 0)
        logits = self.discriminator(real)
        hinge = discriminator_hinge(logits.float(), self.discriminator(fake.detach()).float())
        if not self.penalty_weight:
            return hinge, hinge.new_zeros(())
        return hinge, self.penalty_weight * gradient_penalty(real, logits)
