from __future__ import annotations

import numpy as np
import pytest

from training.prepare.crops import crop, crop_boxes
from training.prepare.scenes import colour_change
from training.prepare.settings import PrepareSettings
from training.prepare.stills import pans


def boxes(size: tuple[int, int], **settings: object) -> list[tuple[float, float, float, float]]:
    return list(crop_boxes(size, PrepareSettings.model_validate(settings), np.random.default_rng(0)))


def test_the_default_is_the_largest_centre_crop() -> None:
    assert boxes((200, 400)) == [(100, 0, 300, 200)]
    assert boxes((400, 200)) == [(0, 100, 200, 300)]
    assert boxes((100, 100), image_size=(32, 64)) == [(0, 25, 100, 75)]


def test_scales_and_crops_lie_within_and_have_their_size() -> None:
    found = boxes((300, 500), image_size=(64, 64), scales=(1.0, 0.5), crops=3)
    assert len(found) == 6
    assert [round(right - left) for left, _, right, _ in found] == [300] * 3 + [150] * 3
    for left, top, right, bottom in found:
        assert 0 <= left < right <= 500
        assert 0 <= top < bottom <= 300
        assert right - left == pytest.approx(bottom - top)
    assert len(set(found)) == 6


def test_scales_that_would_enlarge_are_left_out() -> None:
    assert len(boxes((144, 176), scales=(1.0, 0.95, 0.5))) == 2
    assert len(boxes((20, 20), scales=(1.0, 0.5))) == 1


def test_a_crop_shows_its_box() -> None:
    frame = np.zeros((40, 60, 3), np.uint8)
    frame[10:30, 20:40] = 200
    assert (crop(frame, (20, 10, 40, 30), (8, 8))[1:-1, 1:-1] == 200).all()
    assert (crop(frame, (23.5, 13.5, 36.5, 26.5), (8, 8)) == 200).all()


def test_a_cut_changes_colours_and_motion_does_not() -> None:
    rng = np.random.default_rng(0)
    scene = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    assert colour_change(scene, scene) == 0
    assert colour_change(scene, np.roll(scene, 8, axis=1)) < 0.1
    assert colour_change(np.full_like(scene, 30), np.full_like(scene, 220)) == 1
    assert colour_change(scene // 2, 128 + scene // 2) > 0.8


def test_pans_move_slowly_and_stay_inside() -> None:
    columns = np.broadcast_to(np.linspace(0, 255, 600).astype(np.uint8)[None, :, None], (300, 600, 3))
    settings = PrepareSettings(image_size=(32, 32), clip_frames=7, pans=12, scales=(1.0, 0.4))
    clips = list(pans(np.ascontiguousarray(columns), settings, np.random.default_rng(0)))
    assert len(clips) == 12
    travels = []
    for clip in clips:
        assert clip.shape == (7, 32, 32, 3)
        middles = clip[:, 16, 16, 0].astype(float)
        steps = np.diff(middles)
        assert np.abs(steps).max() < 12
        assert (steps >= -1).all() or (steps <= 1).all()
        travels.append(abs(middles[-1] - middles[0]))
    assert max(travels) > 5
