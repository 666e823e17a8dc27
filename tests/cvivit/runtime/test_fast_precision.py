"""What stays float32 in "fast": the quantizer and the network of the spatial bias."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvivit.network import CViViT
from cvivit.runtime.cpu import packed
from cvivit.runtime.cpu.packed import multiplies_bfloat16
from cvivit.runtime.cpu.runner import CPURunner


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def runner(request: pytest.FixtureRequest, tiny_model: CViViT, monkeypatch: pytest.MonkeyPatch) -> CPURunner:
    if not request.param:
        monkeypatch.setattr("cvivit.runtime.cpu.runner.packing_is_available", lambda: False)
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


def test_a_cpu_without_products_in_bfloat16_gives_the_same(
    tiny_model: CViViT, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """oneDNN refuses bfloat16 on a CPU without AVX-512, where rounded numbers are multiplied in float32."""
    found = []
    for multiplies in (multiplies_bfloat16(), False):
        monkeypatch.setattr(packed, "multiplies_bfloat16", lambda known=multiplies: known)
        runner = CPURunner(tiny_model, precision="fast")
        assert runner._network.dtype == torch.bfloat16
        found.append(runner.decode_clips(runner.encode_clips(clips)).astype(int))
    plain = CPURunner(tiny_model, precision="exact")
    exact = plain.decode_clips(plain.encode_clips(clips)).astype(int)
    rounding = np.abs(found[0] - exact).mean()
    assert np.abs(found[1] - exact).mean() < 2 * rounding + 0.1
