"""Properties of the network that hold for any weights."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cvivit import CViViTConfig
from cvivit.network import CViViT
from cvivit.network.position import SpatialBias
from cvivit.network.quantizer import LOOKUP_BLOCK, nearest_codes

SMALL: dict[str, Any] = {
    "dim": 32,
    "heads": 2,
    "dim_head": 16,
    "spatial_depth": 1,
    "temporal_depth": 2,
    "codebook_size": 64,
    "image_size": 32,
}


def make(config: CViViTConfig, recipe: ModuleType, seed: int = 1) -> CViViT:
    model = CViViT(config).eval()
    model.load_state_dict(recipe.fill(model.state_dict(), seed))
    return model


def noise(frames: int, height: int = 32, width: int = 32, batch: int = 1) -> Tensor:
    return torch.rand(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(frames))


@pytest.fixture(scope="module")
def variants(recipe: ModuleType) -> dict[str, CViViT]:
    return {
        "released": make(CViViTConfig.released(**SMALL), recipe),
        "paper": make(CViViTConfig.paper(**SMALL), recipe),
        "lucidrains": make(CViViTConfig.lucidrains(**SMALL), recipe),
    }


@settings(max_examples=30, deadline=None)
@given(
    variant=st.sampled_from(["released", "paper", "lucidrains"]),
    half=st.integers(0, 4),
    rows=st.integers(1, 5),
    columns=st.integers(1, 5),
    batch=st.integers(1, 3),
)
def test_shapes_for_any_size_that_the_patches_divide(
    variants: dict[str, CViViT], variant: str, half: int, rows: int, columns: int, batch: int
) -> None:
    model = variants[variant]
    video = noise(1 + 2 * half, 8 * rows, 8 * columns, batch)
    indices = model.encode(video)
    assert indices.shape == (batch, 1 + half, rows, columns)
    assert indices.dtype == torch.int64
    assert 0 <= int(indices.min()) <= int(indices.max()) < 64
    assert model.decode(indices).shape == video.shape


@pytest.mark.parametrize("shape", [(2, 32, 32), (5, 33, 32), (5, 32, 12), (5, 0, 32)])
def test_sizes_that_the_patches_do_not_divide_are_refused(
    variants: dict[str, CViViT], shape: tuple[int, int, int]
) -> None:
    with pytest.raises(ValueError, match=r"1 plus a multiple|do not divide"):
        variants["released"].encode(torch.zeros(1, 3, *shape))


@pytest.mark.parametrize("wrong", [-1, 64])
def test_tokens_outside_the_codebook_are_refused(variants: dict[str, CViViT], wrong: int) -> None:
    with pytest.raises(ValueError, match=r"\[0, 64\)"):
        variants["released"].decode(torch.full((1, 1, 4, 4), wrong))


def later_frames_reach_earlier_tokens(model: CViViT) -> bool:
    video = noise(9)
    changed = video.clone()
    changed[:, :, 5:] = 1 - changed[:, :, 5:]
    return not torch.equal(model.features(video)[:, :3], model.features(changed)[:, :3])


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.complex64])
def test_bytes_are_not_taken_for_pixels(variants: dict[str, CViViT], dtype: torch.dtype) -> None:
    video = (noise(3) * 255).to(dtype)
    with pytest.raises(ValueError, match=f"floating point.*{dtype}".replace("torch.", "")):
        variants["paper"].encode(video)


@pytest.mark.parametrize(
    "shape", [(3, 3, 32, 32), (1, 1, 3, 3, 32, 32), (1, 4, 3, 32, 32), (0, 3, 3, 32, 32)]
)
def test_videos_of_other_axes_are_refused(variants: dict[str, CViViT], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="axes"):
        variants["released"].encode(torch.zeros(shape))


INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64]


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("variant", ["released", "lucidrains"])
def test_tokens_of_every_integer_type_are_decoded(
    variants: dict[str, CViViT], variant: str, dtype: torch.dtype
) -> None:
    model = variants[variant]
    indices = model.encode(noise(3))
    assert torch.equal(model.decode(indices.to(dtype)), model.decode(indices))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bool, torch.complex64])
@pytest.mark.parametrize("variant", ["released", "lucidrains"])
def test_tokens_that_are_no_integers_are_refused(
    variants: dict[str, CViViT], variant: str, dtype: torch.dtype
) -> None:
    with pytest.raises(ValueError, match="integers"):
        variants[variant].decode(torch.zeros(1, 2, 4, 4).to(dtype))


@pytest.mark.parametrize("shape", [(2, 4, 4), (1, 32), (0, 2, 4, 4), (1, 0, 4, 4)])
def test_tokens_of_other_axes_are_refused(variants: dict[str, CViViT], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="axes"):
        variants["released"].decode(torch.zeros(shape, dtype=torch.int64))


def test_paper_is_causal(variants: dict[str, CViViT]) -> None:
    model, video = variants["paper"], noise(9)
    assert not later_frames_reach_earlier_tokens(model)
    assert torch.equal(model.encode(video[:, :, :5]), model.encode(video)[:, :3])


@torch.no_grad()
def test_released_is_not_causal(variants: dict[str, CViViT]) -> None:
    """Its temporal attention is bidirectional.

    In the lucidrains variant, only the scrambled PEG looks at later frames.
    """
    assert later_frames_reach_earlier_tokens(variants["released"])
    assert later_frames_reach_earlier_tokens(variants["lucidrains"])


@torch.no_grad()
def test_brightness_reaches_the_tokens_in_paper_and_cannot_in_released(variants: dict[str, CViViT]) -> None:
    dark = noise(5) * 0.4
    bright = dark + 0.5
    assert not torch.equal(variants["paper"].encode(dark), variants["paper"].encode(bright))
    same = variants["released"].encode(dark) == variants["released"].encode(bright)
    assert same.float().mean() > 0.99


@torch.no_grad()
def test_bias_on_distinct_offsets_is_the_bias_on_pairs() -> None:
    bias = SpatialBias(32, 4)
    rows, columns = 3, 5
    y, x = (a.flatten() for a in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
    pairs = torch.stack((y[:, None] - y, x[:, None] - x), -1).float()
    expected = pairs.sign() * (pairs.abs() + 1).log()
    for layer in bias.net:
        expected = layer(expected)
    torch.testing.assert_close(bias(rows, columns), expected.permute(2, 0, 1), rtol=0, atol=1e-6)


@torch.no_grad()
def test_kept_bias_follows_the_weights(recipe: ModuleType) -> None:
    model = make(CViViTConfig.paper(**SMALL), recipe)
    before = model.spatial_bias(4, 4)
    assert model.spatial_bias(4, 4) is before
    model.load_state_dict(recipe.fill(model.state_dict(), 2))
    assert not torch.equal(model.spatial_bias(4, 4), before)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 50), chunk=st.integers(1, 60))
def test_chunked_lookup_is_the_whole_lookup(n: int, chunk: int) -> None:
    generator = torch.Generator().manual_seed(n)
    features = torch.nn.functional.normalize(torch.randn(n, 8, generator=generator), dim=-1)
    codes = torch.nn.functional.normalize(torch.randn(33, 8, generator=generator), dim=-1)
    similarity = (features @ codes.t()).topk(2).values
    clear = similarity[:, 0] - similarity[:, 1] > 1e-6
    chosen = nearest_codes(features, codes, chunk=chunk)
    assert torch.equal(chosen[clear], (features @ codes.t()).argmax(-1)[clear])


@pytest.mark.parametrize("codes", [LOOKUP_BLOCK, 5 * LOOKUP_BLOCK, 33])
def test_lookup_takes_the_first_of_equal_codes(codes: int) -> None:
    generator = torch.Generator().manual_seed(codes)
    features = torch.randint(-1, 2, (70, 4), generator=generator).float()
    table = torch.randint(-1, 2, (codes, 4), generator=generator).float()  # their products are exact
    similarity = features @ table.t()
    first = (similarity == similarity.amax(dim=1, keepdim=True)).int().argmax(dim=1)
    assert torch.equal(nearest_codes(features, table, chunk=32), first)


@pytest.mark.parametrize("generation", ["0.10", "1.6", "1.32"])
def test_codebooks_of_every_generation_load(generation: str, recipe: ModuleType) -> None:
    config = CViViTConfig.released(**SMALL)
    source, target = make(config, recipe, 3), CViViT(config).eval()
    state = dict(source.state_dict())
    if generation != "1.32":
        state["vq._codebook.initted"] = torch.ones(1)
    if generation == "0.10":
        del state["vq._codebook.embed_avg"]
    target.load_state_dict(state)
    assert torch.equal(target.encode(noise(5)), source.encode(noise(5)))


def test_stored_codes_are_decoded_and_normalized_ones_matched(recipe: ModuleType) -> None:
    plain = make(CViViTConfig.released(**SMALL), recipe)
    oldest = make(CViViTConfig.released(**SMALL, codebook_matching="normalized"), recipe)
    book = oldest.get_submodule("vq._codebook")
    assert isinstance(book.embed, Tensor)
    book.embed.mul_(torch.linspace(0.5, 3, 64)[:, None])
    indices = plain.encode(noise(5))
    assert torch.equal(oldest.encode(noise(5)), indices)
    assert not torch.equal(oldest.decode(indices), plain.decode(indices))


def test_training_pass_reaches_every_weight_in_use(recipe: ModuleType) -> None:
    model = make(CViViTConfig.paper(**SMALL), recipe).train()
    out = model(noise(5))
    assert out.video.shape == (1, 3, 5, 32, 32)
    assert out.indices.shape == (1, 3, 4, 4)
    (out.video.square().mean() + out.commitment).backward()
    idle = {name for name, weight in model.named_parameters() if weight.grad is None}
    assert all("context_norm" in name for name in idle)
