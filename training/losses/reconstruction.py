"""The reconstruction loss: mean squared error of pixels."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def reconstruction_loss(reconstruction: Tensor, video: Tensor) -> Tensor:
    """Return the mean over everything of two `b c t h w` in [0, 1], the reconstruction not clamped."""
    return F.mse_loss(reconstruction.float(), video.float())
