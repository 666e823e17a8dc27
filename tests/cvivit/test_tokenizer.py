"""The tokenizer: whole videos to token grids and back."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from cvivit import CViViT, CViViTConfig, TokenGrid, VideoTokenizer
from cvivit.errors import (
    ConfigError,
    EmptyVideoError,
    ModelMismatchError,
    UnsupportedMediaError,
    VideoTooLargeError,
)
from cvivit.runtime.precision import Precision
from cvivit.video import ClipFormat, VideoLimits, read_frames, write_video
from cvivit.weights import save_pretrained


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny: CViViTConfig, recipe: ModuleType) -> Path:
    """Weights of the tiny network, exported."""
    model = CViViT(tiny).eval()
    model.load_state_dict(recipe.fill(model.state_dict(), 1))
    folder = tmp_path_factory.mktemp("weights")
    save_pretrained(model, folder)
    return folder


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> VideoTokenizer:
    return VideoTokenizer.from_pretrained(folder, device="cpu", precision="exact")


def video(frames: int, height: int = 36, width: int = 48) -> bytes:
    """An MP4 of `frames` frames at 8 fps: noise that drifts."""
    noise = np.random.default_rng(frames).integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    picture = noise.repeat(4, 0).repeat(4, 1)
    file = BytesIO()
    write_video([np.roll(picture, i, 1) for i in range(frames)], file, fps=8, container="mp4")
    return file.getvalue()


@pytest.mark.parametrize(("frames", "clips"), [(1, 1), (4, 1), (5, 1), (6, 2), (10, 2), (13, 3)])
def test_every_frame_comes_back(tokenizer: VideoTokenizer, frames: int, clips: int) -> None:
    grid = tokenizer.encode(video(frames))
    assert grid.indices.shape == (clips, 3, 4, 4)
    assert grid.indices.dtype == np.uint16
    assert (grid.frames, grid.fps, grid.model) == (frames, 8, tokenizer.fingerprint)
    decoded = tokenizer.decode(grid)
    assert decoded.shape == (frames, 32, 32, 3)
    assert decoded.dtype == np.uint8
    assert np.array_equal(np.stack(list(tokenizer.decode_stream(grid))), decoded)


def test_clips_are_windows_of_the_frames(tokenizer: VideoTokenizer) -> None:
    file = video(7)
    frames = np.stack(list(read_frames(file, ClipFormat.of(tokenizer.config))))
    padded = np.concatenate((frames, frames[-1:].repeat(3, 0))).reshape(2, 5, 32, 32, 3)
    assert np.array_equal(tokenizer.encode(file).indices, tokenizer.encode_clips(padded))


def test_a_part_of_a_video(tokenizer: VideoTokenizer) -> None:
    frames = np.stack(list(read_frames(video(20), ClipFormat.of(tokenizer.config))))
    part = tokenizer.encode(video(20), start=0.5, seconds=1.25)
    assert part.frames == 10
    assert np.array_equal(part.indices, tokenizer.encode_clips(frames[4:14].reshape(2, 5, 32, 32, 3)))
    with pytest.raises(EmptyVideoError, match="ends"):
        tokenizer.encode(video(20), start=10)
    with pytest.raises(ConfigError, match="seconds"):
        tokenizer.encode(video(20), seconds=0)


def test_paths_bytes_and_files_are_the_same_video(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    data = video(6)
    path = tmp_path / "clip.mp4"
    path.write_bytes(data)
    expected = tokenizer.encode(data)
    assert tokenizer.encode(path) == tokenizer.encode(str(path)) == expected
    with path.open("rb") as file:
        assert tokenizer.encode(file) == expected


def test_fit_reaches_the_reader(tokenizer: VideoTokenizer) -> None:
    grids = [tokenizer.encode(video(5), fit=fit) for fit in ("crop", "pad", "stretch")]
    assert grids[0] != grids[1] != grids[2]


def test_a_grid_survives_its_file(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    grid = tokenizer.encode(video(6))
    grid.save(tmp_path / "clip.safetensors")
    assert TokenGrid.load(tmp_path / "clip.safetensors") == TokenGrid.from_json(grid.to_json()) == grid


def test_tokens_of_other_weights_are_refused(tokenizer: VideoTokenizer) -> None:
    grid = tokenizer.encode(video(5))
    other = TokenGrid(indices=grid.indices, frames=5, fps=8, model="0" * 64)
    with pytest.raises(ModelMismatchError):
        tokenizer.decode(other)
    with pytest.raises(ModelMismatchError):
        next(tokenizer.decode_stream(other))


def test_limits_and_errors_of_the_reader_pass_through(tokenizer: VideoTokenizer) -> None:
    with pytest.raises(VideoTooLargeError):
        tokenizer.encode(video(11), limits=VideoLimits(max_clips=2))
    with pytest.raises(UnsupportedMediaError):
        tokenizer.encode(b"<!doctype html>")


def test_saved_weights_are_the_same_weights(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = VideoTokenizer.from_pretrained(tmp_path, device="cpu", precision="exact")
    assert again.fingerprint == tokenizer.fingerprint
    assert again.encode(video(5)) == tokenizer.encode(video(5))


@pytest.mark.parametrize("again", [copy.deepcopy, lambda tokenizer: pickle.loads(pickle.dumps(tokenizer))])
@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_a_tokenizer_is_copied_and_pickled(
    folder: Path, precision: Precision, again: Callable[[VideoTokenizer], VideoTokenizer]
) -> None:
    tokenizer = VideoTokenizer.from_pretrained(folder, device="cpu", precision=precision)
    other = again(tokenizer)
    assert (other.name, other.device, other.precision) == (
        tokenizer.name,
        tokenizer.device,
        tokenizer.precision,
    )
    grid = tokenizer.encode(video(7))
    assert other.encode(video(7)) == grid
    assert np.array_equal(other.decode(grid), tokenizer.decode(grid))


def test_a_copy_of_changed_weights_says_so(folder: Path) -> None:
    tokenizer = VideoTokenizer.from_pretrained(folder, device="cpu", precision="exact")
    with torch.no_grad():
        tokenizer.model.to_pixels.get_parameter("0.bias").add_(1)
    assert copy.deepcopy(tokenizer).fingerprint != tokenizer.fingerprint


def test_the_model_is_at_hand(tokenizer: VideoTokenizer, clips: np.ndarray) -> None:
    indices = tokenizer.model.encode(torch.from_numpy(clips).permute(0, 4, 1, 2, 3) / 255)
    assert np.array_equal(indices.numpy(), tokenizer.encode_clips(clips))
