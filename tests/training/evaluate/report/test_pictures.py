"""The contact sheet and the animation."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tests.training.evaluate.moving_clips import moving
from training.evaluate.report.pictures import comparison, contact_sheet


def test_pictures_hold_every_clip(tmp_path: Path) -> None:
    pairs = [(moving(seed).frames, 255 - moving(seed).frames) for seed in range(3)]
    contact_sheet(tmp_path / "sheet.png", pairs)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width == 5 * 64 + 4 * 4
        assert sheet.height == 3 * (2 * 64 + 4) + 2 * 12
    for suffix in ("gif", "webp"):
        comparison(tmp_path / f"c.{suffix}", pairs, fps=8)
        with Image.open(tmp_path / f"c.{suffix}") as animation:
            assert getattr(animation, "n_frames", 1) == 5
            assert animation.size == (2 * (2 * 64 + 2) + 12, 2 * 64 + 4)
