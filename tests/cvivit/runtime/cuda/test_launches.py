"""What encoding and decoding launch, counted on a fake CUDA device: nothing runs on the CPU or waits."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from cvivit import CViViTConfig
from cvivit.network import CViViT
from cvivit.runtime.cuda.plain import PlainNetwork, token_type
from tests.cvivit.runtime.cuda.fake_device import DEVICE, Launches, fake_device
from tests.marks import slow

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.network import PackedNetwork

MOST_LAUNCHES = 90

PRESETS = [
    pytest.param(CViViTConfig.released(), id="released"),
    pytest.param(CViViTConfig.demo(), id="demo"),
    slow(CViViTConfig.paper(), id="paper"),
    pytest.param(CViViTConfig.lucidrains(), id="lucidrains"),
    slow(CViViTConfig.lucidrains(lookup_free=False), id="lucidrains with a codebook"),
]


@pytest.mark.parametrize("config", PRESETS)
@pytest.mark.parametrize("batch", [slow(1), 32])
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


# The network looks at the addresses of its weights to know whether its cached bias is still valid.
@pytest.mark.filterwarnings("ignore:Accessing the data pointer of FakeTensor:UserWarning")
@pytest.mark.parametrize("config", PRESETS)
def test_the_plain_modules_do_not_wait_either(config: CViViTConfig) -> None:
    """They compute in `exact`, and in `fast` where the kernels cannot."""
    model = CViViT(config).eval().requires_grad_(False).compute_in(torch.bfloat16)
    with fake_device():
        network = _plain(model)
        clips = torch.empty(8, *config.clip_shape, dtype=torch.uint8, device=DEVICE)
        with Launches() as encoding:
            tokens = network.encode(clips)
        with Launches() as decoding:
            decoded = network.decode(tokens)
    assert tokens.shape == (8, *config.grid)
    assert decoded.shape == clips.shape
    assert decoded.dtype == torch.uint8
    for counted in (encoding, decoding):
        assert not counted.on_cpu
        assert not counted.waits
        assert counted.launched


def _plain(model: CViViT) -> PlainNetwork:
    """Return the plain modules on the fake device.

    `PlainNetwork` copies its model and moves it by `Module.to`. Fake tensors allow neither, so every tensor
    of the model is replaced here.
    """
    for module in model.modules():
        groups: tuple[dict[str, Any], ...] = (module._parameters, module._buffers)
        for tensors in groups:
            for name, tensor in tensors.items():
                if tensor is not None:
                    fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=DEVICE)
                    tensors[name] = Parameter(fake, False) if isinstance(tensor, Parameter) else fake
    network = PlainNetwork.__new__(PlainNetwork)
    network.model = model
    network.token_dtype = token_type(model.config.codebook_size)
    return network
