"""A folder with tiny weights and a clip, and the `cvivit` command run in it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from cvivit import CViViT, CViViTConfig
from cvivit.commands.app import main
from cvivit.video import write_video
from cvivit.weights import save_pretrained
from tests.cvivit.commands.command import Command, Result


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, tiny: CViViTConfig, recipe: ModuleType) -> Path:
    """A folder with weights and a clip of seven frames."""
    place = tmp_path_factory.mktemp("place")
    model = CViViT(tiny)
    model.load_state_dict(recipe.fill(model.state_dict(), 1))
    save_pretrained(model, place / "weights")
    frames = np.random.default_rng(0).integers(0, 256, (7, 48, 64, 3), dtype=np.uint8)
    write_video(frames, place / "clip.mp4", fps=8)
    return place


@pytest.fixture
def cvivit(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run the command in the folder `place`, in this process."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("TERM", "dumb")

    def run(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["cvivit", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        status = exit_.value.code or 0
        assert isinstance(status, int)
        return Result(status, *capsys.readouterr())

    return run
