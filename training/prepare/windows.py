"""Cut a stream of frames into clips: with strides and offsets, and without clips across a scene cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from training.prepare.settings import PrepareSettings

Frame = np.ndarray
IsCut = Callable[[Frame, Frame], bool]


def cut_windows(
    frames: Iterable[Frame], settings: PrepareSettings, is_cut: IsCut | None
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield clips, uint8 (t h w c) of `settings.clip_frames` frames, each with the number of its first frame.

    Memory holds only unfinished clips.

    A clip begins at the first frame, every `settings.step` frames after it, and again after every cut. Frames
    before a cut or the end that are too few for a clip are dropped.

    Args:
        frames: uint8 (h w c) at `settings.fps * settings.offsets` frames a second.
        settings: the length of a clip, and the distance between clips.
        is_cut: whether there is a cut between two successive frames. None if cuts do not matter.
    """
    windows = [_OffsetWindow(settings) for _ in range(settings.offsets)]
    before: Frame | None = None
    for number, frame in enumerate(frames):
        if is_cut is not None and before is not None and is_cut(before, frame):
            for window in windows:
                window.restart()
        before = frame
        window = windows[number % settings.offsets]
        if window.add(frame):
            yield number - (settings.clip_frames - 1) * settings.offsets, window.take()


class _OffsetWindow:
    """The frames of one offset that are kept for the next clip."""

    def __init__(self, settings: PrepareSettings) -> None:
        self._length = settings.clip_frames
        self._step = settings.step
        self.restart()

    def restart(self) -> None:
        self._held: list[Frame] = []
        self._skip = 0

    def add(self, frame: Frame) -> bool:
        """Take a frame, and return whether the clip is complete."""
        if self._skip:
            self._skip -= 1
            return False
        self._held.append(frame)
        return len(self._held) == self._length

    def take(self) -> np.ndarray:
        window = np.stack(self._held)
        self._skip = max(0, self._step - self._length)
        self._held = self._held[self._step :]
        return window
