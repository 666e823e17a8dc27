"""How many clips are validated by any number of processes, and how unusable clips are reported."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from cvivit import CViViTConfig
from cvivit.network import CViViT
from tests.training.tiny_run import Noise, tiny_config
from training.config.schema import ValidationConfig
from training.data import ClipEpoch, StreamSettings
from training.run import distributed
from training.run.batch import Batch
from training.run.loop import train
from training.run.tracking.step_log import read_log
from training.run.validation import validate


def batches(config: CViViTConfig) -> Iterator[Batch]:
    for number in range(10):
        yield Batch(video=torch.zeros(3, *config.clip_shape, dtype=torch.uint8), keys=(str(number),) * 3)


@pytest.mark.parametrize("clips", [1, 7, 12])
def test_ranks_together_measure_as_many_clips_as_were_asked_for(
    tiny_model: CViViT, monkeypatch: pytest.MonkeyPatch, clips: int
) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 5)
    measured = 0.0
    for rank in range(5):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        config = ValidationConfig(clips=clips, lpips=False)
        found = validate(tiny_model, batches(tiny_model.config), config, device=torch.device("cpu"))
        assert found is not None
        measured += found.figures["clips"]
    assert measured == clips


def test_figures_of_frames_are_means_over_the_clips_of_all_ranks(
    tiny_model: CViViT, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are compared with plain numpy, and `gather` acts as if two ranks had the same clips."""
    shape = (4, *tiny_model.config.clip_shape)
    video = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    held_out = [Batch(video=video[:3], keys=("a",) * 3), Batch(video=video[3:], keys=("b",))]
    monkeypatch.setattr(distributed, "gather", lambda value: [value, value])
    found = validate(
        tiny_model, held_out, ValidationConfig(clips=4, lpips=False, videos=4), device=torch.device("cpu")
    )
    assert found is not None
    errors = np.stack([b.numpy().astype(float) - a.numpy() for a, b in found.shown])
    figures = found.figures
    assert figures["clips"] == 8
    by_frame = 10 * np.log10(255**2 / (errors**2).mean((2, 3, 4)))
    assert figures["psnr_by_frame"] == pytest.approx(by_frame.mean(0).tolist())
    assert figures["psnr"] == pytest.approx((10 * np.log10(255**2 / (errors**2).mean((1, 2, 3, 4)))).mean())
    assert figures["flicker"] == pytest.approx(np.abs(np.diff(errors, axis=1)).mean())
    luma = (errors * [0.299, 0.587, 0.114]).sum(-1)
    assert figures["brightness_shift"] == pytest.approx(luma.mean())
    assert figures["brightness_shift_by_frame"] == pytest.approx(luma.mean((0, 2, 3)).tolist())
    assert len(figures["ssim_by_frame"]) == tiny_model.config.clip_frames


def test_pictures_have_neither_flicker_nor_figures_of_frames(tiny_model: CViViT) -> None:
    _, height, width, channels = tiny_model.config.clip_shape
    pictures = Batch(video=torch.zeros(2, 1, height, width, channels, dtype=torch.uint8), keys=("a", "b"))
    config = ValidationConfig(clips=2, lpips=False)
    found = validate(tiny_model, [pictures], config, device=torch.device("cpu"))
    assert found is not None
    assert found.figures["brightness_shift"] > 0  # black can only become brighter
    assert not [name for name in found.figures if "flicker" in name or "by_frame" in name]


def test_held_out_clips_that_cannot_be_used_are_counted_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shard = tmp_path / "junk.tar"
    with tarfile.open(shard, "w") as tar:
        for number in range(3):
            info = tarfile.TarInfo(f"{number}.mp4.mp4")
            info.size = 8
            tar.addfile(info, io.BytesIO(b"no video"))
    config = tiny_config(tmp_path / "run", "loop.steps=1", "tracking.progress=true")
    junk = StreamSettings(
        clips=(str(shard),), batch_size=2, clip_frames=5, image_size=(32, 32), max_bad_samples=5
    )
    train(config, lambda *_: Noise(config), lambda *_: ClipEpoch(junk))
    (record,) = read_log(tmp_path / "run/log.jsonl")
    assert (record["validation_clips"], record["validation_bad_samples"]) == (0, 3)
    said = "".join(capsys.readouterr().out.split())  # the path in the note decides where lines wrap
    for part in (
        "validation measured nothing: no held-out clip could be used;",
        "junk.tar#0: not a sound video",
    ):
        assert part.replace(" ", "") in said
