"""Tokens in random company, and what a reader of folders takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from cvivit import VideoTokenizer
from cvivit.errors import VideoError
from cvivit.network import CViViT
from cvivit.runtime.agreement import measure_agreement, read_some_clips, text
from cvivit.runtime.cpu.runner import CPURunner
from cvivit.video import ClipFormat
from tests.places import DATA, SHARED

CITY = DATA / "city.mp4"
FOLDER = SHARED / "clips"


def test_no_token_depends_on_company(tiny_model: CViViT, clips: np.ndarray) -> None:
    steps: list[tuple[int, int]] = []
    report = measure_agreement(
        tiny_model, clips, compositions=20, largest=5, progress=lambda *step: steps.append(step)
    )
    assert steps == [(done, 20) for done in range(1, 21)]
    assert report["differing_tokens"] == 0
    assert report["compared_tokens"] >= 20 * 48
    assert 0 <= report["fast_differing_share"] < 0.2
    assert "0 of" in text(report)


def test_tokens_that_depend_on_company_are_counted(
    tiny_model: CViViT, clips: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = CPURunner.encode_clips

    def sociable(self: CPURunner, clips: np.ndarray) -> np.ndarray:
        tokens = encode(self, clips)
        tokens[1:, 0, 0, 0] ^= 1
        return tokens

    monkeypatch.setattr(CPURunner, "encode_clips", sociable)
    assert measure_agreement(tiny_model, clips, compositions=20)["differing_tokens"] > 0


def test_no_clips_are_refused(tiny_model: CViViT, clips: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no clips"):
        measure_agreement(tiny_model, clips[:0])


def test_clips_come_from_all_videos_of_a_folder_in_turn(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("a.mp4", "below/b.mp4"):
        shutil.copy(CITY, tmp_path / name)
    (tmp_path / "README.md").write_text("no video")
    clips = read_some_clips([tmp_path], ClipFormat(), most=3)
    assert clips.shape == (3, 11, 128, 128, 3)
    assert np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])
    assert len(read_some_clips([tmp_path / "below"], ClipFormat(), most=1000)) < 1000
    with pytest.raises(VideoError):
        read_some_clips([tmp_path / "README.md"], ClipFormat(), most=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_thousand_compositions_of_real_clips() -> None:
    tokenizer = VideoTokenizer.from_pretrained("demo", device="cpu")
    sources = [FOLDER] if FOLDER.is_dir() else [CITY]
    clips = read_some_clips(sources, ClipFormat.of(tokenizer.config), most=32)
    report = measure_agreement(tokenizer.model, clips, device="cpu")
    assert report["differing_tokens"] == 0
