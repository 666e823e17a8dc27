from __future__ import annotations

import numpy as np
import pytest

from training.data.augment import augment, centre, crop_box, pick_window, resize


@pytest.mark.parametrize("size", [(100, 200), (200, 100), (64, 64), (33, 47)])
@pytest.mark.parametrize("shape", [(64, 64), (32, 64), (64, 16)])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.01])
@pytest.mark.parametrize("where", [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_a_crop_lies_within_and_has_the_ratio(
    size: tuple[int, int], shape: tuple[int, int], scale: float, where: tuple[float, float]
) -> None:
    top, left, height, width = crop_box(size, shape, scale, where)
    assert 0 <= top <= top + height <= size[0]
    assert 0 <= left <= left + width <= size[1]
    assert height >= 1
    assert width >= 1
    if scale > 0.1:
        assert abs(height / shape[0] - width / shape[1]) <= 1 / min(shape)


def test_the_largest_crop_touches_two_sides() -> None:
    assert crop_box((100, 200), (64, 64), 1.0, (0.5, 0.5)) == (0, 50, 100, 100)


def test_windows() -> None:
    frames = np.arange(20).reshape(20, 1, 1, 1)
    assert pick_window(frames, 11, None).ravel().tolist() == list(range(11))
    starts = {int(pick_window(frames, 11, np.random.default_rng(seed))[0].item()) for seed in range(100)}
    assert starts == set(range(10))
    assert len(pick_window(frames, 20, np.random.default_rng(0))) == 20


def test_resizing_keeps_a_flat_picture_flat_and_averages_when_it_shrinks() -> None:
    assert (resize(np.full((2, 40, 30, 3), 77, np.uint8), (16, 16)) == 77).all()
    board = (np.indices((1, 64, 64, 3)).sum(0) % 2 * 255).astype(np.uint8)
    assert np.abs(resize(board, (16, 16)).astype(int) - 127).max() < 16


def test_one_crop_for_all_frames() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    clip = augment(
        np.stack([frame] * 4), shape=(16, 16), scales=(0.3, 1.0), flip=0.5, rng=np.random.default_rng(1)
    )
    assert clip.shape == (4, 16, 16, 3)
    assert (clip == clip[0]).all()


def test_the_centre() -> None:
    frames = np.zeros((1, 16, 48, 3), np.uint8)
    frames[:, :, 16:32] = 200
    assert (centre(frames, (16, 16)) == 200).all()
