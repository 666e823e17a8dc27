"""The short scripts do what their first lines say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cvivit import VideoTokenizer
from cvivit.video import read_frames
from cvivit.weights import encoder_fingerprint, load_weights
from tests.places import DATA, ROOT


def run(folder: Path, script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script of examples/ in a folder, as a user of a checkout does."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / script, *map(str, arguments)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_sampled_tokens_are_decoded(tmp_path: Path) -> None:
    assert "wrote sampled.mp4: 22 frames" in run(tmp_path, "decode_sampled_tokens.py", "sampled.mp4").stdout
    frames = np.stack(list(read_frames(tmp_path / "sampled.mp4")))
    assert frames.shape == (22, 128, 128, 3)
    assert frames.std() > 10


@pytest.mark.slow
def test_the_decoder_learns_and_tokens_stay_valid(tmp_path: Path) -> None:
    run(tmp_path, "fine_tune.py", DATA / "city.mp4", "tuned", "--steps", 4)
    before, after = load_weights("demo"), load_weights(tmp_path / "tuned" / "weights")
    assert after.fingerprint != before.fingerprint
    assert after.tokens_of == (before.fingerprint,)
    assert encoder_fingerprint(after.state_dict) == encoder_fingerprint(before.state_dict)
    older = VideoTokenizer.from_pretrained("demo").encode(DATA / "city.mp4", seconds=1)
    tuned = VideoTokenizer.from_pretrained(tmp_path / "tuned" / "weights")
    assert tuned.decode(older).shape == (8, 128, 128, 3)
