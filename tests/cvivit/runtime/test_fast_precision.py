"""What stays float32 in "fast": the quantizer and the network of the spatial bias."""

from __future__ import annotations

import pytest
import torch

from cvivit.network import CViViT
from cvivit.runtime.cpu.packed import PackedLinear
from cvivit.runtime.cpu.runner import CPURunner


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def runner(request: pytest.FixtureRequest, tiny_model: CViViT, monkeypatch: pytest.MonkeyPatch) -> CPURunner:
    if not request.param:
        monkeypatch.setattr("cvivit.runtime.cpu.runner.packing_is_available", lambda _: False)
    return CPURunner(tiny_model, precision="fast")


def test_the_quantizer_keeps_its_weights(runner: CPURunner, tiny_model: CViViT) -> None:
    kept = runner._network.vq.state_dict()
    for name, weight in tiny_model.vq.state_dict().items():
        assert torch.equal(kept[name], weight), name


def test_the_spatial_bias_is_rounded_once(runner: CPURunner, tiny_model: CViViT) -> None:
    with torch.inference_mode():
        found = runner._network.spatial_bias(3, 5)
        expected = tiny_model.spatial_rel_pos_bias(3, 5)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected.bfloat16())


def test_the_transformers_compute_in_bfloat16(runner: CPURunner) -> None:
    assert runner._network.dtype == torch.bfloat16


def test_a_cpu_without_products_in_bfloat16_computes_with_plain_modules(
    tiny_model: CViViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN refuses to pack bfloat16 for a CPU without AVX512."""
    pack = PackedLinear.__init__

    def refuse(self: PackedLinear, weight: torch.Tensor, rows: int, dtype: torch.dtype) -> None:
        if dtype == torch.bfloat16:
            raise RuntimeError("mkldnn_reorder_linear_weight: bf16 path needs the cpu support avx512bw")
        pack(self, weight, rows, dtype)

    monkeypatch.setattr(PackedLinear, "__init__", refuse)
    runner = CPURunner(tiny_model, precision="fast")
    assert runner._network.dtype == torch.bfloat16
    frames, height, width, channels = tiny_model.config.clip_shape
    clip = torch.zeros(1, frames, height, width, channels, dtype=torch.uint8)
    assert runner.encode_clips(clip).shape == (1, *tiny_model.config.grid)
    assert CPURunner(tiny_model, precision="exact")._network is not None
