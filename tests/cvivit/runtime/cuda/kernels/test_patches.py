"""The kernels that cut clips into patches and paste them together do what the network's own code does."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from cvivit import CViViTConfig
from cvivit.network import patches
from cvivit.network.patches import FixedNorm

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.kernels.cut import cut
from cvivit.runtime.cuda.kernels.paste import paste

SHAPES = [
    pytest.param(CViViTConfig.released(image_size=(16, 24), clip_frames=5), id="released"),
    pytest.param(CViViTConfig.released(image_size=(8, 200), clip_frames=3), id="rows longer than a block"),
    pytest.param(
        CViViTConfig.released(
            image_size=(12, 24), patch_size=(4, 8), temporal_patch_size=3, clip_frames=7, channels=1
        ),
        id="other patches",
    ),
]


def in_memory_order(rows: Tensor, config: CViViTConfig, pt: int) -> Tensor:
    """Bring patches from the network's order of values into that of the pixels in memory."""
    p1, p2 = config.patch_size
    return rearrange(
        rows, "b T H W (c pt p1 p2) -> (b T H W) (pt p1 p2 c)", c=config.channels, pt=pt, p1=p1, p2=p2
    )


@pytest.mark.parametrize("config", SHAPES)
@pytest.mark.parametrize("layer_norm", [True, False])
def test_cut(config: CViViTConfig, layer_norm: bool) -> None:
    clips = torch.randint(0, 256, (2, *config.clip_shape), dtype=torch.uint8)
    parts = patches.cut(clips.permute(0, 4, 1, 2, 3).float() / 255, config)
    for rows, first, pt in zip(parts, (0, 1), (1, config.temporal_patch_size), strict=True):
        expected = in_memory_order(rows, config, pt)
        expected = F.layer_norm(expected, expected.shape[-1:]) if layer_norm else FixedNorm()(expected)
        found = cut(clips, first, rows.shape[1], [pt, *config.patch_size], layer_norm, torch.float32)
        torch.testing.assert_close(found, expected, rtol=0, atol=3e-6)


@pytest.mark.parametrize("config", SHAPES)
def test_paste(config: CViViTConfig) -> None:
    frames, rows, columns = config.grid
    first_size, rest_size = patches.pixels_per_patch(config)
    first = torch.rand(2, 1, rows, columns, first_size) * 1.2 - 0.1
    rest = torch.rand(2, frames - 1, rows, columns, rest_size) * 1.2 - 0.1
    first.view(-1)[:4] = torch.tensor([0.5, 1.5, 2.5, 254.5]) / 255  # half to even
    expected = patches.paste(first, rest, config).mul(255).round().clamp(0, 255).to(torch.uint8)
    found = paste(
        in_memory_order(first, config, 1),
        in_memory_order(rest, config, config.temporal_patch_size),
        [2, *config.clip_shape],
        [config.temporal_patch_size, *config.patch_size],
    )
    assert torch.equal(found, expected.permute(0, 2, 3, 4, 1))
