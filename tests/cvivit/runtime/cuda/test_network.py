"""The packed network against the plain one, in Triton's interpreter: every variant, and other sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cvivit.network import CViViT
from tests.cvivit.runtime.cuda.conftest import VARIANTS, make

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")
from cvivit.runtime.cuda.network import PackedNetwork, why_unsupported
from tests.marks import slow

pytestmark = pytest.mark.usefixtures("interpreter")

# The interpreter multiplies bfloat16 wrongly, so whole networks run in float32 here. The check at warm-up
# compares them in bfloat16 on a device.
CPU, FLOAT32 = torch.device("cpu"), torch.float32


def clips_of(model: CViViT, shape: tuple[int, ...]) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def assert_same(model: CViViT, packed: PackedNetwork, clips: Tensor) -> None:
    """Compare both networks. A pixel may differ by one, because sums are added in another order."""
    expected = model.encode(clips.permute(0, 4, 1, 2, 3).float() / 255)
    tokens = packed.encode(clips)
    assert tokens.dtype == packed.token_dtype
    assert torch.equal(tokens.long(), expected)
    assert len(expected.unique()) > 2
    video = model.decode(expected).mul(255).round().clamp(0, 255).permute(0, 2, 3, 4, 1)
    decoded = packed.decode(tokens)
    assert decoded.dtype == torch.uint8
    assert (decoded.float() - video).abs().max() <= 1


COMMON = {"released", "demo", "lucidrains"}


@pytest.mark.parametrize("variant", [name if name in COMMON else slow(name) for name in VARIANTS])
def test_every_variant(variant: str) -> None:
    model = make(VARIANTS[variant])
    packed = PackedNetwork(model, CPU, FLOAT32)
    assert_same(model, packed, clips_of(model, (2, *model.config.clip_shape)))


@pytest.mark.parametrize(
    ("frames", "height", "width"),
    [
        (1, 16, 24),
        slow(5, 8, 8),
        slow(9, 24, 16),
    ],
)
def test_other_sizes(frames: int, height: int, width: int) -> None:
    model = make(VARIANTS["paper"])
    packed = PackedNetwork(model, CPU, FLOAT32)
    assert_same(model, packed, clips_of(model, (1, frames, height, width, 3)))


def test_clips_too_long_for_the_kernel_of_short_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvivit.runtime.cuda.network.LONGEST", 2)
    model = make(VARIANTS["paper"])
    assert_same(model, PackedNetwork(model, CPU, FLOAT32), clips_of(model, (1, 5, 8, 16, 3)))


def test_the_gate_after_the_product() -> None:
    model = make(VARIANTS["released"])
    packed = PackedNetwork(model, CPU, FLOAT32, fused_feed_forward=False)
    assert_same(model, packed, clips_of(model, (1, *model.config.clip_shape)))


def test_a_clip_does_not_depend_on_company() -> None:
    model = make(VARIANTS["demo"])
    packed = PackedNetwork(model, CPU, FLOAT32)
    clips = clips_of(model, (3, *model.config.clip_shape))
    assert torch.equal(packed.encode(clips)[1:2], packed.encode(clips[1:2]))


def test_more_codes_than_the_table_may_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvivit.runtime.cuda.weights.LARGEST_TABLE", 100)
    model = make(VARIANTS["lucidrains"])
    packed = PackedNetwork(model, CPU, FLOAT32)
    assert_same(model, packed, clips_of(model, (1, *model.config.clip_shape)))


def test_weights_are_copied() -> None:
    model = make(VARIANTS["demo"])
    packed = PackedNetwork(model, CPU, FLOAT32)
    clips = clips_of(model, (1, *model.config.clip_shape))
    before = packed.encode(clips)
    for weight in model.parameters():
        weight.zero_()
    assert torch.equal(packed.encode(clips), before)


@pytest.mark.parametrize(("change", "word"), [({"dim_head": 24}, "heads"), ({"dim": 40}, "width")])
def test_what_the_kernels_cannot_run_has_a_reason(change: dict[str, int], word: str) -> None:
    config = VARIANTS["demo"].model_copy(update=change)
    assert word in str(why_unsupported(config))
    with pytest.raises(ValueError, match=word):
        PackedNetwork(make(config), CPU, FLOAT32)


def test_clips_too_large_for_the_kernels() -> None:
    packed = PackedNetwork(make(VARIANTS["demo"]), CPU, FLOAT32)
    with pytest.raises(ValueError, match="too large"):
        packed.prepare((2, 300, 300))
