"""`tokens_of`: weights that share encoder and codebook decode each other's tokens, and no others."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from cvivit import CViViT, CViViTConfig, TokenGrid, VideoTokenizer
from cvivit.errors import ConfigError, ModelMismatchError
from cvivit.weights import encoder_fingerprint, load_weights, save_pretrained

OLDER, FOREIGN = "a" * 64, "b" * 64


def grid(config: CViViTConfig, model: str) -> TokenGrid:
    return TokenGrid(indices=np.zeros((1, *config.grid), np.uint16), frames=5, fps=8, model=model)


@pytest.fixture
def tuned(tmp_path: Path, tiny: CViViTConfig) -> Path:
    torch.manual_seed(0)
    save_pretrained(CViViT(tiny), tmp_path / "tuned", tokens_of=[OLDER, OLDER])
    return tmp_path / "tuned"


def test_tokens_of_listed_weights_are_decoded_and_foreign_ones_refused(
    tuned: Path, tiny: CViViTConfig
) -> None:
    assert json.loads((tuned / "config.json").read_text())["tokens_of"] == [OLDER]
    tokenizer = VideoTokenizer.from_pretrained(tuned, device="cpu")
    assert tokenizer.tokens_of == (OLDER,)
    assert tokenizer.config == tiny
    own = tokenizer.decode(grid(tiny, tokenizer.fingerprint))
    older = grid(tiny, OLDER)
    assert np.array_equal(tokenizer.decode(older), own)
    assert np.array_equal(np.stack(list(tokenizer.decode_stream(older))), own)
    with pytest.raises(ModelMismatchError):
        tokenizer.decode(grid(tiny, FOREIGN))
    with pytest.raises(ModelMismatchError):
        next(tokenizer.decode_stream(grid(tiny, FOREIGN)))
    assert tokenizer.encode_clips(np.zeros((1, *tiny.clip_shape), np.uint8)).shape[1:] == tiny.grid


def test_both_token_forms_accept_listed_weights(tiny: CViViTConfig) -> None:
    older, foreign = grid(tiny, OLDER), grid(tiny, FOREIGN)
    for config in (tiny, None):
        assert TokenGrid.from_json(older.to_json(), config=config, model="c", tokens_of=[OLDER]) == older
        assert TokenGrid.from_bytes(older.to_bytes(), config=config, model="c", tokens_of=[OLDER]) == older
        with pytest.raises(ModelMismatchError):
            TokenGrid.from_json(foreign.to_json(), config=config, model="c", tokens_of=[OLDER])
        with pytest.raises(ModelMismatchError):
            TokenGrid.from_bytes(foreign.to_bytes(), config=config, model="c", tokens_of=[OLDER])


def test_copies_keep_the_statement(tuned: Path, tmp_path: Path) -> None:
    tokenizer = VideoTokenizer.from_pretrained(tuned, device="cpu")
    assert pickle.loads(pickle.dumps(tokenizer)).tokens_of == (OLDER,)
    tokenizer.save_pretrained(tmp_path / "copy")
    copy = load_weights(tmp_path / "copy")
    assert (copy.tokens_of, copy.fingerprint) == ((OLDER,), tokenizer.fingerprint)


def test_without_other_weights_the_file_is_as_before(tmp_path: Path, tiny: CViViTConfig) -> None:
    model = CViViT(tiny)
    fingerprint = save_pretrained(model, tmp_path)
    assert (tmp_path / "config.json").read_text() == tiny.model_dump_json(indent=2) + "\n"
    save_pretrained(model, tmp_path, tokens_of=[fingerprint])  # a model need not list itself
    assert "tokens_of" not in (tmp_path / "config.json").read_text()
    assert load_weights(tmp_path).tokens_of == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_what_decides_tokens_is_not_rounded(tmp_path: Path, tiny: CViViTConfig, dtype: torch.dtype) -> None:
    model = CViViT(tiny)
    save_pretrained(model, tmp_path / "kept", dtype=dtype, tokens_of=[OLDER])
    save_pretrained(model, tmp_path / "rounded", dtype=dtype)
    kept, rounded = (load_weights(tmp_path / name).state_dict for name in ("kept", "rounded"))
    assert encoder_fingerprint(kept) == encoder_fingerprint(model.state_dict())
    assert encoder_fingerprint(rounded) != encoder_fingerprint(kept)
    for key in ("to_pixels.0.weight", "dec_spatial_transformer.norm_out.gamma"):
        assert torch.equal(kept[key], rounded[key])


def test_every_tensor_that_decides_tokens_is_compared(tiny: CViViTConfig) -> None:
    torch.manual_seed(0)
    model = CViViT(tiny)
    state = model.state_dict()
    video = torch.rand(2, 3, 5, 32, 32)
    tokens, whole = model.encode(video), encoder_fingerprint(state)
    noise = {key: torch.randn_like(value) for key, value in state.items() if value.is_floating_point()}
    same = {key for key in noise if encoder_fingerprint(state | {key: noise[key]}) == whole}
    model.load_state_dict(state | {key: noise[key] for key in same})
    assert torch.equal(model.encode(video), tokens)
    assert {
        key for key in state if key.startswith(("enc_", "spatial_", "to_patch", "vq.project_in"))
    }.isdisjoint(same)
    assert "vq._codebook.embed" not in same
    assert {key for key in noise if key.startswith(("dec_", "to_pixels"))} <= same


@pytest.mark.parametrize("value", ['["short"]', '"text"', "[1]", '["' + "A" * 64 + '"]'])
def test_a_statement_that_is_none_is_an_error(tuned: Path, value: str) -> None:
    fields = json.loads((tuned / "config.json").read_text()) | {"tokens_of": json.loads(value)}
    (tuned / "config.json").write_text(json.dumps(fields))
    with pytest.raises(ConfigError, match="tokens_of"):
        load_weights(tuned)
