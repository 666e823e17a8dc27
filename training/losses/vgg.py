"""The convolutional half of VGG16, in the key layout of torchvision's `vgg16().features`."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
"""Output channels of each 3x3 convolution, by resolution; a 2x2 max pool stands between resolutions."""
TAP_WIDTHS = tuple(widths[-1] for widths in WIDTHS)


class VGG16Features(nn.Module):
    """VGG16 up to its last ReLU, giving what LPIPS taps: the last activation before each pooling.

    StateDict-dict keys are `features.N.weight` and `features.N.bias`, N counting ReLUs and pools as well.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for widths in WIDTHS:
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map normalised images `b c h w` to the activations after layers 3, 8, 15, 22 and 29."""
        taps = []
        # Channels last is what oneDNN and cuDNN compute in: else every layer would reorder its activations.
        x = images.contiguous(memory_format=torch.channels_last)
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                taps.append(x)
                x = layer(x)
            elif isinstance(layer, nn.ReLU):
                x = F.relu(x)
            else:
                x = layer(x)
        return [*taps, x]
