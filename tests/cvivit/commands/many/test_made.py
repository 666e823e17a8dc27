"""The record of what an output was made from: in a token file's metadata, or in a list beside other files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cvivit import TokenGrid
from cvivit.commands.many.made import LIST_NAME, Outputs, digest_of, made_from
from cvivit.commands.many.storing import store_tokens
from cvivit.inputs import Source, stamp_of


@pytest.fixture
def grid() -> TokenGrid:
    return TokenGrid(indices=np.zeros((1, 3, 4, 4), np.uint16), frames=5, fps=8.0, model="m")


def source(path: Path) -> Source:
    return Source(location=str(path), name=path.name, kind="video")


def test_the_key_follows_size_time_model_and_settings(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    video.write_bytes(b"one")
    first = made_from(stamp_of(source(video)), "m", {"fit": "crop", "start": 0.0})
    assert made_from(stamp_of(source(video)), "m", {"start": 0.0, "fit": "crop"}) == first
    assert made_from(stamp_of(source(video)), "n", {"fit": "crop", "start": 0.0}) != first
    assert made_from(stamp_of(source(video)), "m", {"fit": "pad", "start": 0.0}) != first
    os.utime(video, ns=(5, 5))
    assert made_from(stamp_of(source(video)), "m", {"fit": "crop", "start": 0.0}) != first


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_an_output_is_known_by_what_it_was_made_from(tmp_path: Path, grid: TokenGrid, suffix: str) -> None:
    output = tmp_path / f"a{suffix}"
    assert Outputs(tmp_path).state(output, "key") == "absent"
    store_tokens(grid, output, suffix, Outputs(tmp_path), "key")
    assert Outputs(tmp_path).state(output, "key") == "same"
    assert Outputs(tmp_path).state(output, "another") == "other"
    assert Outputs(tmp_path).state(output, None) == "unknown"
    output.write_bytes(output.read_bytes()[:-1])
    assert Outputs(tmp_path).state(output, "key") == "unknown"
    output.unlink()
    assert Outputs(tmp_path).state(output, "key") == "absent"


def test_a_list_that_was_cut_short_or_is_gone(tmp_path: Path, grid: TokenGrid) -> None:
    outputs = Outputs(tmp_path)
    for name in ("a.json", "b.json"):
        store_tokens(grid, tmp_path / name, ".json", outputs, "key")
    listed = (tmp_path / LIST_NAME).read_bytes()
    (tmp_path / LIST_NAME).write_bytes(listed[:-10])
    assert Outputs(tmp_path).state(tmp_path / "a.json", "key") == "same"
    assert Outputs(tmp_path).state(tmp_path / "b.json", "key") == "unknown"
    (tmp_path / LIST_NAME).unlink()
    assert Outputs(tmp_path).state(tmp_path / "a.json", "key") == "unknown"


def test_an_output_that_never_appeared_is_absent(tmp_path: Path, grid: TokenGrid) -> None:
    outputs = Outputs(tmp_path)
    outputs.note(tmp_path / "a.mp4", "key", "digest")
    assert Outputs(tmp_path).state(tmp_path / "a.mp4", "key") == "absent"


def test_a_token_file_with_more_metadata_is_read_as_ever(tmp_path: Path, grid: TokenGrid) -> None:
    store_tokens(grid, tmp_path / "a.safetensors", ".safetensors", Outputs(tmp_path), "key")
    assert TokenGrid.load(tmp_path / "a.safetensors") == grid
    assert not (tmp_path / LIST_NAME).exists()
    assert len(digest_of(tmp_path / "a.safetensors")) == 64
