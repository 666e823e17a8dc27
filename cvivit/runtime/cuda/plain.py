"""The network's own modules as a runner on CUDA calls them, with bytes in and out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from cvivit.network import CViViT


def token_type(codebook_size: int) -> torch.dtype:
    """Return the smallest type that holds every token, for copies between device and host."""
    if codebook_size <= 2**16:
        return torch.uint16
    return torch.int32 if codebook_size <= 2**31 else torch.int64


class PlainNetwork:
    """A copy of the network on a device, its transformers computing in `dtype`."""

    def __init__(self, model: CViViT, device: torch.device, dtype: torch.dtype) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False).to(device).compute_in(dtype)
        self.token_dtype = token_type(model.config.codebook_size)

    @torch.inference_mode()
    def encode(self, clips: Tensor) -> Tensor:
        """Map uint8 `b t h w c` to tokens `b T H W`."""
        return self.model.encode(clips.permute(0, 4, 1, 2, 3).float() / 255).to(self.token_dtype)

    @torch.inference_mode()
    def decode(self, tokens: Tensor) -> Tensor:
        """Map tokens `b T H W` to uint8 `b t h w c`."""
        video = self.model.decode(tokens.long(), check=False).float()
        pixels = video.mul_(255).round_().clamp_(0, 255).to(torch.uint8)
        return pixels.permute(0, 2, 3, 4, 1).contiguous()
