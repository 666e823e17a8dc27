"""The whole chain, in a short form: raw videos to shards, to weights, to a report, to a service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from cvivit.video import write_video
from service.app import create_app
from service.settings import Settings

NETWORK = ("dim=32", "dim_head=16", "codebook_size=64", "image_size=32", "clip_frames=5")


def training(*arguments: object) -> str:
    """Run `python -m training` and return what it printed."""
    command = [sys.executable, "-m", "training", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert result.returncode == 0, result.stderr
    return result.stdout


def film(seed: int) -> np.ndarray:
    """Three seconds of soft blobs that drift, uint8 (t h w 3)."""
    blobs = np.random.default_rng(seed).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    scene = np.asarray(Image.fromarray(blobs).resize((112, 48), Image.Resampling.BICUBIC))
    return np.stack([scene[:, 2 * number : 2 * number + 64] for number in range(24)])


def test_from_videos_to_a_service(tmp_path: Path) -> None:
    videos, shards, run = tmp_path / "videos", tmp_path / "shards", tmp_path / "run"
    videos.mkdir()
    for seed in range(4):
        write_video(film(seed), videos / f"film{seed}.mp4", fps=8)
        Image.fromarray(film(seed + 10)[0]).save(videos / f"still{seed}.png")

    said = training("prepare", videos, shards, "--size", 32, "--clip-frames", 5, "--validation", 0.25)
    assert "train: " in said
    settings = [f"model.{field}" for field in NETWORK]
    settings += [f"data.train={shards}/train-*.tar", f"data.validation={shards}/validation-*.tar"]
    settings += [f"data.validation_stills={shards}/stills-validation-*.tar"]
    settings += ["loop.steps=16", "quantizer.bypass_steps=4", f"checkpoint.directory={run}"]
    settings += ["checkpoint.every_steps=8", "validation.every_steps=8"]
    training("train", "--config", "smoke", *(part for setting in settings for part in ("--set", setting)))

    record = json.loads((run / "log.jsonl").read_text().splitlines()[-1])
    assert record["validation_stills_clips"] == 1
    assert record["validation_stills_psnr"] > 5
    skipped = ("--no-lpips", "--no-fvd", "--codec-clips", 2, "--device", "cpu")
    held_out = (f"{shards}/validation-*.tar", f"{shards}/stills-validation-*.tar")
    training("evaluate", run, *held_out, "--output", tmp_path / "report", *skipped)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["psnr"] > 5
    assert report["stills"]["stills"] == 1
    assert report["stills"]["psnr"] > 5
    checkpoint = report["weights"]["checkpoint"]
    assert (run / "checkpoints" / checkpoint).is_dir()
    assert f"| run, {checkpoint} (the best by validation" in (tmp_path / "report" / "report.md").read_text()

    fingerprint = training("export", run, tmp_path / "weights").split()[-1]
    assert fingerprint == report["weights"]["fingerprint"]
    app = create_app(Settings(model=str(tmp_path / "weights")))
    with TestClient(app) as client:
        tokens = client.post("/encode", content=(videos / "film0.mp4").read_bytes()).json()
        assert tokens["model"] == fingerprint
        assert tokens["shape"] == [5, 3, 4, 4]
        assert tokens["frames"] == 24
        video = client.post("/decode", json=tokens)
        assert video.status_code == 200
        assert video.headers["content-type"] == "video/mp4"
