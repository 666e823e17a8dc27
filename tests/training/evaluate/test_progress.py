"""Progress lines are written at intervals, and not for every clip."""

from __future__ import annotations

from training.evaluate.progress import EVERY_SECONDS, Progress


def test_a_line_now_and_then() -> None:
    said: list[str] = []
    now = [0.0]
    progress = Progress(said.append, lambda: now[0])
    for clip in range(100):
        now[0] += EVERY_SECONDS / 4
        progress(f"{clip + 1} clips")
    assert said == [f"{4 * turn} clips" for turn in range(1, 26)]
