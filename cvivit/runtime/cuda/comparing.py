"""Compare the kernels with the plain modules on the device itself, before they compute a user's clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import torch
from torch import Tensor

from cvivit.config import CViViTConfig

CLIPS: Final = 2

TOKENS_FACTOR: Final = 2.0
TOKENS_MORE: Final = 0.02
"""The kernels' share of tokens that are not those of float32 may be this factor times that of the plain
modules, and this much more. Both round to bfloat16, at different steps, so they differ from float32 about
equally often."""

PIXELS_FACTOR: Final = 2.0
PIXELS_MORE: Final = 0.5
"""The same of the mean distance of a pixel from float32's, in steps of 255."""


class Network(Protocol):
    """A network that encodes and decodes batches on a device."""

    def encode(self, clips: Tensor) -> Tensor:
        """Map uint8 `b t h w c` to tokens `b T H W`."""
        ...

    def decode(self, tokens: Tensor) -> Tensor:
        """Map tokens `b T H W` to uint8 `b t h w c`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How much the kernels and the plain modules each differ from the network in float32."""

    tokens: float
    """Share of tokens in which the kernels differ from float32."""
    plain_tokens: float
    """The same for the plain modules."""
    pixels: float
    """Mean distance of a pixel between the kernels and float32, of 255."""
    plain_pixels: float

    @property
    def agrees(self) -> bool:
        """Whether the kernels are as close to float32 as the plain modules are, within the tolerances."""
        return (
            self.tokens <= TOKENS_FACTOR * self.plain_tokens + TOKENS_MORE
            and self.pixels <= PIXELS_FACTOR * self.plain_pixels + PIXELS_MORE
        )

    def __str__(self) -> str:
        return (
            f"{self.tokens:.2%} of tokens and {self.pixels:.2f} a pixel from float32, "
            f"where the plain modules are {self.plain_tokens:.2%} and {self.plain_pixels:.2f}"
        )


def example(config: CViViTConfig, device: torch.device) -> Tensor:
    """Return clips `CLIPS t h w c` that look a little like video: moving waves with some noise."""
    generator = torch.Generator().manual_seed(0)
    frames, height, width, channels = config.clip_shape
    t, y, x = (torch.linspace(0, 1, size) for size in (frames, height, width))
    phase = t[:, None, None] + 2 * y[:, None] + 3 * x
    shift = torch.rand(CLIPS, 1, 1, 1, channels, generator=generator)
    waves = 0.5 + 0.4 * torch.sin(6.28 * (phase[..., None] + shift))
    noisy = waves + 0.05 * torch.randn(waves.shape, generator=generator)
    return noisy.clamp(0, 1).mul(255).to(torch.uint8).to(device)


def compare(kernels: Network, plain: Network, exact: Network, clips: Tensor) -> Comparison:
    """Encode and decode clips with each network, and return how the first two differ from `exact`."""
    expected = exact.encode(clips).long()
    video = exact.decode(expected).float()

    def tokens(network: Network) -> float:
        return float((network.encode(clips).long() != expected).float().mean())

    def pixels(network: Network) -> float:
        return float((network.decode(expected).float() - video).abs().mean())

    return Comparison(
        tokens=tokens(kernels), plain_tokens=tokens(plain), pixels=pixels(kernels), plain_pixels=pixels(plain)
    )
