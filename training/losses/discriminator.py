"""The discriminator of the adversarial loss: residual blocks over single frames, attention at 16x16."""

from __future__ import annotations

import itertools
import math

import torch
from einops import rearrange
from einops.layers.torch import Rearrange
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cvivit.network.attention import Attention
from training.losses.convolution import Conv2d

MAX_WIDTH = 512
ATTENTION_SIZE = 16
"""Height and width of the feature map after whose block attention is added."""
LEAK = 0.1


def widths(base: int, layers: int) -> list[int]:
    """Return the channels between blocks: 3, then base * 4 * 2^i, at most 512."""
    return [3, *(min(base * 4 * 2**i, MAX_WIDTH) for i in range(layers))]


class Block(nn.Module):
    """Two 3x3 convolutions beside a 1x1 one. Every block but the last halves the map by space-to-depth."""

    def __init__(self, channels: int, width: int, *, halve: bool) -> None:
        super().__init__()
        self.conv_res = Conv2d(channels, width, 1, stride=2 if halve else 1)
        self.net = nn.Sequential(
            Conv2d(channels, width, 3, padding=1),
            nn.LeakyReLU(LEAK),
            Conv2d(width, width, 3, padding=1),
            nn.LeakyReLU(LEAK),
        )
        self.downsample = (
            nn.Sequential(
                Rearrange("b c (h p1) (w p2) -> b (c p1 p2) h w", p1=2, p2=2), Conv2d(width * 4, width, 1)
            )
            if halve
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `b c h w` to `b c' h/2 w/2`, or to `b c' h w` for the last."""
        return (self.downsample(self.net(x)) + self.conv_res(x)) * (1 / math.sqrt(2))


class Discriminator(nn.Module):
    """Computes a logit for each frame: how real it looks.

    Args:
        image_size: height and width of frames in pixels. Both are halved until the shorter is about 4.
        base_width: the first block has four times as many channels.

    Raises:
        ValueError: the size cannot be halved that often.
    """

    def __init__(self, image_size: tuple[int, int], *, base_width: int = 16) -> None:
        super().__init__()
        layers = int(math.log2(min(image_size))) - 1
        if layers < 1 or any(side % 2 ** (layers - 1) for side in image_size):
            raise ValueError(f"image_size: {image_size} cannot be halved {max(layers - 1, 0)} times")
        channels = widths(base_width, layers)
        self.blocks = nn.ModuleList()
        # A dictionary, because the released keys number the attention blocks by the block they follow.
        self.attn_blocks = nn.ModuleDict()
        for index, (inputs, outputs) in enumerate(itertools.pairwise(channels)):
            self.blocks.append(Block(inputs, outputs, halve=index < layers - 1))
            if min(image_size) // 2**index == ATTENTION_SIZE:
                self.attn_blocks[str(index)] = Attention(outputs)
        height, width = (side // 2 ** (layers - 1) for side in image_size)
        last = channels[-1]
        self.to_logits = nn.Sequential(
            Conv2d(last, last, 3, padding=1),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
            nn.Linear(last * height * width, 1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Map `b c h w` in [0, 1] to logits `b`."""
        x = images.contiguous(memory_format=torch.channels_last)
        for index, block in enumerate(self.blocks):
            x = block(x)
            if str(index) in self.attn_blocks:
                height = x.shape[2]
                sequence = rearrange(x, "b c h w -> b (h w) c")
                # Only the plain attention kernel can be differentiated twice, as the gradient penalty needs.
                with sdpa_kernel(SDPBackend.MATH):
                    sequence = self.attn_blocks[str(index)](sequence) + sequence
                x = rearrange(sequence, "b (h w) c -> b c h w", h=height)
        return rearrange(self.to_logits(x), "b 1 -> b")
