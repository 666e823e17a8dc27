"""Larger codebooks from smaller ones: what stays, what is new, and the setting that allows it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cvivit import VideoTokenizer
from cvivit.errors import WeightsMismatchError
from cvivit.network.model import CViViT
from cvivit.network.quantizer import nearest_codes
from cvivit.weights import load_weights, save_pretrained
from tests.training.tiny_run import Noise, tiny_config
from tests.training.whole_runs import final, run
from training.export import export
from training.run.saving.codebook_growth import CODES, COUNTS, SUMS, grow

SIZE, WIDTH = 64, 8
ASKED = ("model.codebook_size=160", "checkpoint.grow_codebook=true")


def a_codebook(size: int = SIZE) -> dict[str, torch.Tensor]:
    """Return a codebook that has learned from tokens around three quarters of its codes."""
    # The seed differs from that of `grow`, which would otherwise draw these codes again and move each of them
    # in its own direction.
    torch.manual_seed(1)
    codes = F.normalize(torch.randn(size, WIDTH), dim=-1)
    tokens = F.normalize(codes[: size * 3 // 4].repeat(40, 1) + 0.1 * torch.randn(size * 30, WIDTH), dim=-1)
    indices = nearest_codes(tokens, codes)
    counts = torch.bincount(indices, minlength=size).float()
    sums = torch.zeros_like(codes).index_add_(0, indices, tokens)
    return {CODES: codes[None], COUNTS: counts[None], SUMS: sums[None], "other": torch.ones(1)}


@pytest.mark.parametrize("size", [SIZE + 1, 100, 1000])
def test_old_codes_stay_and_new_ones_share_their_cells(size: int) -> None:
    old = a_codebook()
    new = grow(old, size, seed=0)
    assert torch.equal(new[CODES][0, :SIZE], old[CODES][0])
    assert new[CODES].shape == new[SUMS].shape == (1, size, WIDTH)
    assert len(new[CODES][0].unique(dim=0)) == size
    torch.testing.assert_close(new[CODES].norm(dim=-1), torch.ones(1, size))
    added = new[CODES][0, SIZE:]
    parents = nearest_codes(added, old[CODES][0])
    assert (old[COUNTS][0, parents] > 0).all()  # codes without tokens are not split
    distance = (added - old[CODES][0, parents]).norm(dim=-1)
    assert 0.01 <= distance.min() <= distance.max() < 0.3
    torch.testing.assert_close(new[COUNTS].sum(), old[COUNTS].sum())
    # The first update scales the moving sums to unit length, which must leave the codes where they are.
    used = new[COUNTS][0] > 0
    before = F.normalize(old[SUMS][0], dim=-1)
    after = F.normalize(new[SUMS][0], dim=-1)
    torch.testing.assert_close(after[:SIZE], before)
    torch.testing.assert_close(after[SIZE:], added)
    assert used[SIZE:].all()
    assert new["other"] is old["other"]


def test_most_copies_are_where_most_tokens_are() -> None:
    old = a_codebook()
    old[COUNTS] = torch.zeros(1, SIZE)
    old[COUNTS][0, :3] = torch.tensor([100.0, 50.0, 10.0])
    old[SUMS] = old[CODES] * old[COUNTS].unsqueeze(-1)
    new = grow(old, SIZE + 13, seed=0)
    assert (new[COUNTS][0] > 0).sum() == 16
    torch.testing.assert_close(new[COUNTS][0, :3], torch.tensor([10.0, 10.0, 10.0]))


def test_codes_without_any_statistics_are_split_alike() -> None:
    old = a_codebook() | {COUNTS: torch.zeros(1, SIZE), SUMS: torch.zeros(1, SIZE, WIDTH)}
    new = grow(old, 2 * SIZE, seed=0)
    assert torch.isfinite(new[CODES]).all()
    assert nearest_codes(new[CODES][0, SIZE:], old[CODES][0]).unique().numel() > SIZE / 2


def test_no_feature_is_farther_from_its_code() -> None:
    old = a_codebook()
    codes, more = old[CODES][0], grow(old, 300, seed=0)[CODES][0]
    features = F.normalize(torch.randn(500, WIDTH), dim=-1)
    near = (features * codes[nearest_codes(features, codes)]).sum(-1)
    nearer = (features * more[nearest_codes(features, more)]).sum(-1)
    assert (nearer >= near - 1e-6).all()
    assert (nearer > near + 1e-6).any()


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    save_pretrained(CViViT(tiny_config(tmp_path).model), tmp_path / "weights")
    return tmp_path / "weights"


def test_old_tokens_decode_to_the_same_pixels_at_step_0(tmp_path: Path, weights: Path) -> None:
    still = ("loop.steps=1", "optimizer.learning_rate=1e-30", "quantizer.decay=0.999", "loop.ema_decay=0")
    freeze = 'loop.freeze=["encoder", "quantizer"]'
    config = tiny_config(tmp_path / "run", f"checkpoint.weights={weights}", *ASKED, *still, freeze)
    run(config)
    export(tmp_path / "run", tmp_path / "out")
    older, grown = (
        VideoTokenizer.from_pretrained(folder, device="cpu", precision="exact")
        for folder in (weights, tmp_path / "out")
    )
    assert load_weights(tmp_path / "out").config.codebook_size == 160
    tokens = older.encode_clips(np.stack([Noise(config).clip(number).numpy() for number in range(4)]))
    assert np.array_equal(grown.decode_clips(tokens), older.decode_clips(tokens))


def test_a_run_from_a_smaller_codebook_learns(tmp_path: Path, weights: Path) -> None:
    run(tiny_config(tmp_path / "run", f"checkpoint.weights={weights}", *ASKED))
    codes = final(tmp_path / "run")[f"model.{CODES}"]
    assert codes.shape[1] == 160
    assert torch.isfinite(codes).all()


def test_nobody_gets_a_larger_codebook_unasked(tmp_path: Path, weights: Path) -> None:
    start = f"checkpoint.weights={weights}"
    with pytest.raises(
        WeightsMismatchError, match=r"other codebook_size; .*or checkpoint.grow_codebook=true"
    ):
        run(tiny_config(tmp_path / "a", start, "model.codebook_size=160"))
    for settings in (("model.codebook_size=32",), ("model.codebook_size=160", "model.heads=1")):
        with pytest.raises(WeightsMismatchError, match="other codebook_size") as caught:
            run(tiny_config(tmp_path / "b", start, "checkpoint.grow_codebook=true", *settings))
        assert "grow_codebook" not in str(caught.value)


def test_k_means_does_not_run_on_weights(tmp_path: Path, weights: Path) -> None:
    settings = ("quantizer.kmeans=true", "loop.steps=1", "quantizer.decay=0.999")
    run(tiny_config(tmp_path / "run", f"checkpoint.weights={weights}", *settings))
    before, after = load_weights(weights).state_dict[CODES], final(tmp_path / "run", 1)[f"model.{CODES}"]
    torch.testing.assert_close(after, before, atol=0.05, rtol=0)
