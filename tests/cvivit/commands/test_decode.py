"""`cvivit decode`: the forms of tokens that it reads."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from cvivit import TokenGrid
from cvivit.video import read_frames
from cvivit.video.settings import ClipFormat
from cvivit.weights import load_weights
from tests.cvivit.commands.command import Command


def test_indices_alone_are_decoded(cvivit: Command, place: Path) -> None:
    indices = np.zeros((2, 3, 4, 4), np.int64)
    (place / "sampled.json").write_text(json.dumps({"indices": indices[0].tolist()}))
    save_file({"indices": indices}, place / "sampled.safetensors")
    for name, frames in (("sampled.json", 5), ("sampled.safetensors", 10)):
        assert cvivit("decode", name, "out.mp4", "-m", "weights", "--force").wrote("out.mp4")
        assert len(list(read_frames(place / "out.mp4", ClipFormat(image_size=(32, 32))))) == frames


@pytest.mark.parametrize("form", ["json", "safetensors"])
def test_tokens_may_come_through_a_pipe_or_by_another_name(cvivit: Command, place: Path, form: str) -> None:
    model = load_weights(place / "weights").fingerprint
    grid = TokenGrid(indices=np.zeros((1, 3, 4, 4), int), frames=5, fps=8, model=model)
    data = b"\n " + grid.to_json().encode() if form == "json" else grid.to_bytes()
    pipe = place / f"{form}.pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert cvivit("decode", pipe, "out.mp4", "-m", "weights", "--force").wrote("out.mp4")
    writer.join()
    for name in ("tokens.dat", "tokens.json"):
        (place / name).write_bytes(data)
        assert cvivit("decode", name, "out.mp4", "-m", "weights", "--force").wrote("out.mp4")


def test_tokens_of_other_weights_are_refused(cvivit: Command, place: Path) -> None:
    other = TokenGrid(indices=np.zeros((1, 3, 4, 4), int), frames=5, fps=8, model="another")
    (place / "other.json").write_text(other.to_json())
    done = cvivit("decode", "other.json", "never.mp4", "-m", "weights")
    assert done.status == 1
    assert "another" in done.err
