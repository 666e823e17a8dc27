"""The benchmark: its arithmetic, and the completeness of its report."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cvivit import CViViTConfig
from cvivit.network import CViViT
from cvivit.network.depthwise import KERNEL
from cvivit.network.flops import decode_flops, encode_flops
from cvivit.runtime.speed import benchmark, moving_waves, table


def test_released_figures() -> None:
    config = CViViTConfig.released()
    assert encode_flops(config) / 1e9 == pytest.approx(82.4, abs=0.1)
    assert decode_flops(config) / 1e9 == pytest.approx(81.5, abs=0.1)


@pytest.mark.parametrize("preset", ["released", "paper"])
def test_flops_are_those_that_torch_counts(preset: str) -> None:
    config = getattr(CViViTConfig, preset)(dim=64, heads=2, dim_head=16, codebook_size=64, image_size=32)
    model = CViViT(config).eval()
    video = torch.zeros(1, *(config.clip_shape[i] for i in (3, 0, 1, 2)))
    with torch.no_grad():
        model.spatial_bias(*config.patch_grid)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        indices = model.encode(video)
    assert encode_flops(config) == pytest.approx(counter.get_total_flops() - _cut_off(config), rel=0.01)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model.decode(indices)
    assert decode_flops(config) == pytest.approx(counter.get_total_flops() - _cut_off(config), rel=0.01)


def _cut_off(config: CViViTConfig) -> int:
    """Return the operations that torch counts for frames that position generators compute and then drop."""
    _, rows, columns = config.grid
    generators = config.temporal_depth + config.spatial_depth * config.spatial_peg
    return 2 * generators * (KERNEL - 1) * rows * columns * KERNEL**3 * config.dim


def test_a_report_has_a_row_for_each_measurement(tiny: CViViTConfig) -> None:
    steps: list[tuple[int, int]] = []
    report = benchmark(
        CViViT(tiny),
        device="cpu",
        batches=(1, 2),
        repeats=1,
        published=True,
        progress=lambda *s: steps.append(s),
    )
    assert steps == [(done, 7) for done in range(1, 8)]
    assert {(r["precision"], r["batch"], r["operation"]) for r in report["rows"]} == {
        (p, n, o) for p in ("exact", "fast") for n in (1, 2) for o in ("encode", "decode")
    }
    assert all(row["share"] > 0 for row in report["rows"])
    assert 0 <= report["differing_tokens"] <= 1
    assert "as published" in table(report)


@pytest.mark.parametrize("wrong", [{"batches": (2, 0)}, {"batches": (-1,)}, {"batches": ()}, {"repeats": 0}])
def test_nothing_to_time_is_an_error(tiny: CViViTConfig, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="nothing to time"):
        benchmark(CViViT(tiny), device="cpu", **wrong)


def test_waves_move_and_differ() -> None:
    waves = moving_waves(2, (5, 16, 16, 3))
    assert waves.shape == (2, 5, 16, 16, 3)
    assert (waves[0] != waves[1]).any()
    assert (waves[:, 0] != waves[:, -1]).any()
