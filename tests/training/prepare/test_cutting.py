"""One source is cut into pieces, also if it is truncated, too large, damaged or still."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from cvivit.inputs import Source, stamp_of
from cvivit.video import encode_video
from tests.barcodes import plain_bars
from tests.training.prepare.conftest import textured
from tests.videos import make_video
from training.prepare.cutting import cut_source
from training.prepare.journal import FileStamp, SourceOutcome
from training.prepare.settings import PrepareSettings

SETTINGS = PrepareSettings(clip_frames=4, image_size=(32, 32), scene_threshold=0)


def cut(path: Path, spool: Path, **settings: object) -> SourceOutcome:
    source = Source(location=str(path), name=path.name, kind="video")
    return cut_source(
        source, FileStamp.of(source, stamp_of(source)), SETTINGS.model_copy(update=settings), spool
    )


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 0.5)])
@pytest.mark.parametrize("muxer", ["avi", "matroska", "mp4", "mpegts"])
def test_of_a_video_without_its_end_the_beginning_is_salvaged(
    muxer: str, scales: tuple[float, ...], tmp_path: Path
) -> None:
    frames = textured(64, 1)
    if muxer == "mp4":  # its index comes first
        whole = encode_video(frames, fps=8)
    else:
        whole = make_video(list(frames), muxer=muxer, fps=8, options={"bf": "0", "g": "1"})
    path = tmp_path / "cut"
    path.write_bytes(whole[: int(len(whole) * 0.6) // 188 * 188 + 1])
    refused = cut(path, tmp_path / "spool")
    assert (refused.reason, refused.clips) == ("corrupt_video", ())
    assert not (tmp_path / "spool").exists()
    salvaged = cut(path, tmp_path / "spool", salvage=True, scales=scales)
    assert salvaged.reason == "corrupt_video"
    assert 2 <= len(salvaged.clips) < 16 * len(scales)


def test_a_video_that_needs_too_much_memory_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> Iterator[object]:
        raise MemoryError

    monkeypatch.setattr("training.prepare.cutting.read_frames", exhausted)
    (tmp_path / "v.mp4").write_bytes(b"any")
    record = cut(tmp_path / "v.mp4", tmp_path / "spool")
    assert (record.reason, record.message) == ("memory", "needs more memory than there is")


def test_damage_in_frames_that_no_clip_needs_is_for_strict_preparation(tmp_path: Path) -> None:
    data = plain_bars("mov prores", 120)
    with av.open(io.BytesIO(data), "r") as container:
        packets = [bytes(packet) for packet in container.demux() if packet.size]
    path = tmp_path / "video.mov"
    path.write_bytes(data.replace(packets[20], b"\xa5" * len(packets[20])))
    assert cut(path, tmp_path / "spool").reason == ""
    strict = cut(path, tmp_path / "spool", strict=True)
    assert (strict.reason, strict.message) == ("corrupt_video", "the video is damaged at second 0.8")


@pytest.mark.parametrize("offsets", [1, 3])
def test_pictures_that_stand_still_are_counted(offsets: int, tmp_path: Path) -> None:
    path = tmp_path / "slides.mkv"
    path.write_bytes(make_video(list(textured(6, 1)), muxer="matroska", fps=1))
    assert cut(path, tmp_path / "spool", offsets=offsets).repeats == pytest.approx(7 / 8, abs=0.03)
    path.write_bytes(make_video(list(textured(64, 1)), muxer="matroska", fps=8 * offsets))
    assert cut(path, tmp_path / "spool", offsets=offsets).repeats == 0
