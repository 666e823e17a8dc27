"""Counts of codes, and the mean patch that is decoded for each."""

from __future__ import annotations

import numpy as np
import pytest

from cvivit import CViViTConfig
from cvivit.visualizing import counting
from cvivit.visualizing.counting import CodePatches, count_codes, paint_codes
from cvivit.visualizing.windows import Window, latent_frame_of
from tests.cvivit.visualizing.conftest import MakeWindow


def test_the_latent_frame_of_each_frame(tiny: CViViTConfig) -> None:
    assert [latent_frame_of(frame, tiny) for frame in range(5)] == [0, 1, 1, 2, 2]


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)])
def test_tokens_that_only_pad_are_not_counted(
    make_window: MakeWindow, tiny: CViViTConfig, frames: int, latents: int
) -> None:
    tokens = np.array([3, 7, 7])[:, None, None]
    counts = count_codes([make_window(tokens, frames=frames)], tiny)
    assert counts.tokens == 16 * latents
    assert dict(zip(counts.codes.tolist(), counts.counts.tolist(), strict=True)) == (
        {3: 16} if latents == 1 else {7: 16 * (latents - 1), 3: 16}
    )


def test_counts_of_several_inputs_are_sorted(make_window: MakeWindow, tiny: CViViTConfig) -> None:
    random = np.random.default_rng(0)
    windows = [make_window(random.integers(0, 60, tiny.grid), name=name) for name in ("a", "a", "b")]
    counts = count_codes(windows, tiny)
    every = np.bincount(np.concatenate([window.tokens.ravel() for window in windows]), minlength=60)
    assert counts.names == ["a", "b"]
    assert (every[counts.codes] == counts.counts).all()
    assert counts.counts.sum() == every.sum() == counts.tokens
    assert (np.diff(counts.counts) <= 0).all()


def by_hand(windows: list[Window]) -> dict[int, np.ndarray]:
    """The patches of each code (n p q c), cut out one by one."""
    found: dict[int, list[np.ndarray]] = {}
    for window in windows:
        assert window.decoded is not None
        for latent, frames in enumerate(([0], [1, 2], [3, 4])):
            for row in range(4):
                for column in range(4):
                    part = window.decoded[frames, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                    found.setdefault(int(window.tokens[latent, row, column]), []).append(part.mean(axis=0))
    return {code: np.array(patches) for code, patches in found.items()}


def test_what_is_painted_is_averaged_over_all_places(make_window: MakeWindow, tiny: CViViTConfig) -> None:
    random = np.random.default_rng(0)
    windows = []
    for _ in range(3):
        window = make_window(random.integers(0, 64, tiny.grid))
        noise = random.integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
        windows.append(Window(**(vars(window) | {"decoded": noise})))
    _, patches = paint_codes(windows, tiny)
    expected = by_hand(windows)
    for code, each in expected.items():
        picture = patches.picture(code)
        assert picture is not None
        assert np.abs(picture - each.mean(axis=0)).max() <= 0.5 + 1e-9
    several = [each.reshape(len(each), -1) for each in expected.values() if len(each) > 1]
    everything = np.concatenate(several)
    inside = sum(((each - each.mean(axis=0)) ** 2).sum() for each in several)
    total = ((everything - everything.mean(axis=0)) ** 2).sum()
    count, free = len(everything), len(everything) - len(several)
    assert patches.explained == pytest.approx(1 - (inside / free) / (total / (count - 1)))
    assert abs(patches.explained or 1) < 0.05  # noise has nothing to do with its code


def test_codes_that_decide_everything_explain_everything(make_window: MakeWindow, tiny: CViViTConfig) -> None:
    windows = [make_window(np.random.default_rng(seed).integers(0, 60, tiny.grid)) for seed in range(3)]
    _, patches = paint_codes(windows, tiny)
    assert patches.explained == pytest.approx(1)
    for code in {code for window in windows for code in window.tokens.ravel().tolist()}:
        picture = patches.picture(code)
        assert picture is not None
        assert (picture == code).all()
    assert patches.picture(61) is None


def test_nothing_is_explained_where_nothing_differs(make_window: MakeWindow, tiny: CViViTConfig) -> None:
    assert paint_codes([make_window(5)], tiny)[1].explained is None
    assert CodePatches(tiny).explained is None


def test_codes_beyond_the_limit_are_only_counted(
    make_window: MakeWindow, tiny: CViViTConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MAX_PAINTED", 2)
    counts, patches = paint_codes([make_window(np.array([1, 2, 3])[:, None, None])], tiny)
    assert len(counts.codes) == 3
    assert [patches.picture(code) is None for code in (1, 2, 3)] == [False, False, True]
