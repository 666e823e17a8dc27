"""What encoding and decoding launch, counted on a fake CUDA device: nothing runs on the CPU or waits."""

from __future__ import annotations

import pytest
import torch

from cvivit import CViViTConfig
from cvivit.network import CViViT
from tests.cvivit.runtime.cuda.fake_device import DEVICE, Launches, fake_device

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.network import PackedNetwork

MOST_LAUNCHES = 90

PRESETS = [
    pytest.param(CViViTConfig.released(), id="released"),
    pytest.param(CViViTConfig.demo(), id="demo"),
    pytest.param(CViViTConfig.paper(), id="paper"),
    pytest.param(CViViTConfig.lucidrains(), id="lucidrains"),
    pytest.param(CViViTConfig.lucidrains(lookup_free=False), id="lucidrains with a codebook"),
]


@pytest.mark.parametrize("config", PRESETS)
@pytest.mark.parametrize("batch", [1, 32])
def test_no_clip_waits_or_leaves_the_device(config: CViViTConfig, batch: int) -> None:
    with fake_device():
        network = PackedNetwork(CViViT(config).eval(), DEVICE)
        network.prepare(config.grid)
        clips = torch.empty(batch, *config.clip_shape, dtype=torch.uint8, device=DEVICE)
        with Launches() as encoding:
            tokens = network.encode(clips)
        with Launches() as decoding:
            decoded = network.decode(tokens)
    assert tokens.shape == (batch, *config.grid)
    assert tokens.dtype == torch.uint16
    assert decoded.shape == clips.shape
    assert decoded.dtype == torch.uint8
    for counted in (encoding, decoding):
        assert not counted.on_cpu
        assert not counted.waits
        assert 0 < counted.launched.total() <= MOST_LAUNCHES, counted.launched
