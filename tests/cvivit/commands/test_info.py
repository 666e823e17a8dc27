"""`cvivit info`: what it prints."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cvivit.commands.command import Command
from tests.places import ROOT


def test_info(cvivit: Command) -> None:
    done = cvivit("info", "-m", "weights")
    assert json.loads(done.out)["grid"] == [3, 4, 4]


def test_a_video_is_described_for_the_weights(cvivit: Command, place: Path) -> None:
    done = cvivit("info", "clip.mp4", "-m", "weights", "--json", "--fit", "pad", "--start", "0.25")
    report = json.loads(done.out)
    assert (report["frames"], report["clip_frames"], report["clips"], report["padding"]) == (5, 5, 1, 0)
    assert [picture["source_time"] for picture in report["picked"]] == [0.25, 0.375, 0.5, 0.625, 0.75]
    assert report["geometry"]["picture"] == [32, 32]
    text = cvivit("info", "clip.mp4", "-m", "weights").out
    assert "h264, yuv420p (the only video track)" in text
    assert "2 of 5 pictures; the last one repeats its last picture 3 times" in text


def test_the_times_of_a_long_video_are_not_all_printed(cvivit: Command) -> None:
    text = cvivit("info", ROOT / "tests/data/cases/mkv_jitter.mkv").out
    assert "and 8 more (--json lists all)" in text
    assert "warning     time stamps contradict" in text


def test_a_video_that_cannot_be_read_gives_the_readers_error(cvivit: Command, place: Path) -> None:
    (place / "cut.mp4").write_bytes((place / "clip.mp4").read_bytes()[:-100])
    done = cvivit("info", "cut.mp4", "-m", "weights")
    assert (done.status, done.out) == (1, "")
    assert done.err.startswith("cvivit: cut.mp4: the video is truncated")
    done = cvivit("info", "absent.mp4", "-m", "no such weights")
    assert (done.status, done.out) == (1, "")
    assert "absent.mp4" in done.err
