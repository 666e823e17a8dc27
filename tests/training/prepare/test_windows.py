from __future__ import annotations

import numpy as np
import pytest

from training.prepare.settings import PrepareSettings
from training.prepare.windows import cut_windows


def starts_and_steps(count: int, *, cuts: tuple[int, ...] = (), **settings: object) -> list[list[int]]:
    """Return the numbers of the frames in every window of `count` frames that are numbered."""
    frames = [np.full((1, 1, 1), number) for number in range(count)]
    windows = cut_windows(
        frames,
        PrepareSettings.model_validate(settings),
        (lambda before, after: int(after[0, 0, 0]) in cuts) if cuts else None,
    )
    found = [(first, window.ravel().tolist()) for first, window in windows]
    assert all(first == numbers[0] for first, numbers in found)
    return [numbers for _, numbers in found]


def test_windows_follow_each_other() -> None:
    assert starts_and_steps(10, clip_frames=3) == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_windows_overlap() -> None:
    assert starts_and_steps(7, clip_frames=3, overlap=1) == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert starts_and_steps(5, clip_frames=3, stride=1) == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]


def test_windows_leave_gaps() -> None:
    assert starts_and_steps(10, clip_frames=3, stride=5) == [[0, 1, 2], [5, 6, 7]]


def test_offsets_pick_other_moments() -> None:
    windows = starts_and_steps(8, clip_frames=3, offsets=2)
    assert sorted(windows) == [[0, 2, 4], [1, 3, 5]]


def test_no_window_spans_a_cut_and_a_new_one_begins_at_it() -> None:
    assert starts_and_steps(10, clip_frames=3, cuts=(4,)) == [[0, 1, 2], [4, 5, 6], [7, 8, 9]]
    assert starts_and_steps(6, clip_frames=3, cuts=(2, 4)) == []
    for window in starts_and_steps(40, clip_frames=3, offsets=2, stride=1, cuts=(11, 23)):
        assert sum(window[0] < cut <= window[-1] for cut in (11, 23)) == 0


def test_short_videos_have_none() -> None:
    assert starts_and_steps(2, clip_frames=3) == []
    assert starts_and_steps(0, clip_frames=3) == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overlap": 11}, "leave none"),
        ({"overlap": 1, "stride": 3}, "give one of them"),
        ({"crf": 52}, "crf"),
        ({"scales": ()}, "scales"),
        ({"scales": (1.2,)}, "scales"),
        ({"clips": 3}, "clips"),
        ({"fps": 0}, "fps"),
    ],
)
def test_settings_that_cut_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrepareSettings.model_validate(settings)
