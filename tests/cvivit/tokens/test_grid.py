"""TokenGrid: what it holds, what it refuses, and its two forms, which hold the same."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cvivit.config import CViViTConfig
from cvivit.errors import ModelMismatchError, TokenFieldError, TokenRangeError, TokenShapeError
from cvivit.tokens.grid import TokenGrid

MODEL = "5f" * 32


def grid(**overrides: Any) -> TokenGrid:
    """Two clips of the tiny network: 5 + 3 frames, grids of (3, 4, 4), 64 codes."""
    fields: dict[str, Any] = {
        "indices": (np.arange(96) % 64).reshape(2, 3, 4, 4),
        "frames": 8,
        "fps": 8.0,
        "model": MODEL,
    }
    return TokenGrid(**(fields | overrides))


@st.composite
def grids(draw: st.DrawFn) -> TokenGrid:
    dtype = draw(st.sampled_from([np.uint16, np.uint32]))
    shape = draw(arrays.array_shapes(min_dims=4, max_dims=4, max_side=4))
    return TokenGrid(
        indices=draw(arrays.arrays(dtype, shape)),
        frames=draw(st.integers(shape[0], 2**53 - 1)),
        fps=draw(st.floats(0.01, 1000)),
        model=draw(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128)),
    )


@given(grids())
def test_both_forms_give_back_what_they_were_given(original: TokenGrid) -> None:
    from_file = TokenGrid.from_bytes(original.to_bytes())
    assert from_file == original
    assert from_file.indices.dtype == original.indices.dtype
    assert TokenGrid.from_json(original.to_json()) == original
    assert TokenGrid.from_json(original.to_json().encode()) == original


def test_indices_are_a_copy_that_cannot_be_changed() -> None:
    mine = np.zeros((1, 3, 4, 4), np.uint16)
    kept = grid(indices=mine, frames=1)
    mine[:] = 7
    assert not kept.indices.any()
    with pytest.raises(ValueError, match="read-only"):
        kept.indices[0, 0, 0, 0] = 1


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (np.zeros((1, 1, 1, 1), np.int64), np.uint16),
        (np.full((1, 1, 1, 1), 65_535), np.uint16),
        (np.full((1, 1, 1, 1), 65_536), np.uint32),
        (np.zeros((1, 1, 1, 1), ">u2"), np.uint16),
        (np.zeros((1, 1, 1, 1), np.uint32), np.uint32),
        (np.zeros((1, 1, 1, 2), np.int8)[..., ::2], np.uint16),
    ],
)
def test_any_integers_are_stored_as_unsigned(given: np.ndarray, stored: type) -> None:
    kept = grid(indices=given, frames=1).indices
    assert kept.dtype == stored
    assert kept.dtype.isnative
    assert kept.flags.c_contiguous
    np.testing.assert_array_equal(kept, given)


@pytest.mark.parametrize(
    "indices",
    [
        [[[[1]]]],
        np.zeros((3, 4, 4), np.uint16),
        np.zeros((1, 1, 3, 4, 4), np.uint16),
        np.zeros((0, 3, 4, 4), np.uint16),
        np.zeros((1, 3, 0, 4), np.uint16),
        np.uint16(3),
    ],
)
def test_refuses_indices_that_are_no_clips_of_a_grid(indices: Any) -> None:
    with pytest.raises(TokenShapeError):
        grid(indices=indices)


@pytest.mark.parametrize(
    "indices",
    [
        np.full((1, 3, 4, 4), -1),
        np.full((1, 3, 4, 4), 2**32),
        np.full((1, 3, 4, 4), 2**63, np.uint64),
        np.zeros((1, 3, 4, 4), np.float32),
        np.zeros((1, 3, 4, 4), np.bool_),
        np.zeros((1, 3, 4, 4), object),
    ],
)
def test_refuses_tokens_that_no_codebook_has(indices: np.ndarray) -> None:
    with pytest.raises(TokenRangeError):
        grid(indices=indices)


@pytest.mark.parametrize(
    "frames", [0, -1, 1, 2**53, 10**400, 8.0, 8.5, float("nan"), "8", None, True, np.True_, [8], b"8"]
)
def test_refuses_frames(frames: Any) -> None:
    with pytest.raises(TokenFieldError, match="frames"):
        grid(frames=frames)


@pytest.mark.parametrize(
    "fps", [0, -1, float("nan"), float("inf"), 1e6, 1e-9, 10**400, "8", None, True, [8.0], np.float32(-1), 8j]
)
def test_refuses_fps(fps: Any) -> None:
    with pytest.raises(TokenFieldError, match="fps"):
        grid(fps=fps)


@pytest.mark.parametrize("model", ["", "x" * 129, "a\nb", "é", "\ud800", None, 5, b"ab"])
def test_refuses_a_model_name(model: Any) -> None:
    with pytest.raises(TokenFieldError, match="model") as caught:
        grid(model=model)
    assert str(caught.value).isprintable()


def test_takes_numbers_of_numpy() -> None:
    assert grid(frames=np.int64(8), fps=np.float32(8)) == grid()
    assert type(grid(frames=np.int64(8)).frames) is int
    assert type(grid(fps=8).fps) is float


def test_equality_is_that_of_contents() -> None:
    assert grid() == grid(indices=grid().indices.astype(np.uint32))
    assert grid() != grid(frames=7)
    assert grid() != grid(indices=grid().indices[:, ::-1])
    assert grid() != grid(indices=grid().indices[:1])
    assert grid() != "grid"


def test_check_accepts_what_the_network_can_decode(tiny: CViViTConfig) -> None:
    grid().check(tiny)
    for frames in (6, 10):
        grid(frames=frames).check(tiny, model=MODEL)


def test_check_names_the_first_token_outside_the_codebook(tiny: CViViTConfig) -> None:
    indices = np.zeros((2, 3, 4, 4), np.int64)
    indices[1, 2, 3, 0] = 64
    with pytest.raises(TokenRangeError, match=r"token 64 \(clip 1, T 2, H 3, W 0\) is outside \[0, 64\)"):
        grid(indices=indices).check(tiny)


@pytest.mark.parametrize("shape", [(2, 4, 3, 4), (2, 3, 4, 5), (2, 1, 4, 4)])
def test_check_refuses_another_grid(shape: tuple[int, ...], tiny: CViViTConfig) -> None:
    with pytest.raises(TokenShapeError, match=r"\(3, 4, 4\)"):
        grid(indices=np.zeros(shape, np.uint16)).check(tiny)


@pytest.mark.parametrize("frames", [5, 11])
def test_check_refuses_frames_that_do_not_end_in_the_last_clip(frames: int, tiny: CViViTConfig) -> None:
    with pytest.raises(TokenFieldError, match=r"\[6, 10\]"):
        grid(frames=frames).check(tiny)


def test_check_tells_another_model_before_anything_else(tiny: CViViTConfig) -> None:
    with pytest.raises(ModelMismatchError):
        grid(indices=np.full((9, 9, 9, 9), 9999), frames=9).check(tiny, model="another")


def test_save_and_load_by_path_and_by_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    grid().save(str(path))
    assert TokenGrid.load(path) == grid()
    with path.open("r+b") as file:
        assert TokenGrid.load(file) == grid()
        file.seek(0)
        grid(frames=9).save(file)
    assert TokenGrid.load(str(path)) == grid(frames=9)
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.safetensors"]


def test_save_replaces_a_file_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "clip.safetensors"
    grid().save(path)

    def full_disk(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        grid(frames=9).save(path)
    assert TokenGrid.load(path) == grid()
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.safetensors"]


def test_needs_no_torch() -> None:
    """A client of the service can use tokens without installing torch, which takes gigabytes."""
    program = "import sys, cvivit.tokens.grid; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_copy_is_as_read_only_as_its_original() -> None:
    original = grid()
    for twin in (pickle.loads(pickle.dumps(original)), copy.deepcopy(original)):
        assert twin == original
        assert not twin.indices.flags.writeable
