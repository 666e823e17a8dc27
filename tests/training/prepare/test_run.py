from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import resource
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pebble import ProcessExpired

from cvivit.inputs import find_sources, stamp_of
from cvivit.shards.reading import STILL_SUFFIXES, RawSample, read_shard
from cvivit.video import ClipFormat, read_clips, write_video
from tests.marks import slow
from training.data.decode import decode_clip, decode_still
from training.errors import DataWriteError, NoDataError, OutputMismatchError
from training.prepare import PrepareSettings, cutting, prepare, run
from training.prepare.cutting import cut_source
from training.prepare.journal import FileStamp, SourceOutcome, WorkFolder
from training.prepare.run import result_of

SMALL = PrepareSettings(clip_frames=5, image_size=(32, 32), clips_per_shard=4, validation=0.3)


def samples(output: Path, pattern: str, suffixes: tuple[str, ...] = ("mp4",)) -> list[RawSample]:
    shards = sorted(output.glob(pattern))
    return [sample for shard in shards for sample in read_shard(str(shard), suffixes=suffixes)]


def contents(output: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in output.glob("*.tar")}


@pytest.fixture
def prepared(footage: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    output = tmp_path / "shards"
    return output, prepare([str(footage)], output, SMALL, processes=2)


def test_videos_become_shards_that_the_release_could_read(prepared: tuple[Path, dict[str, Any]]) -> None:
    output, _ = prepared
    clips = samples(output, "train-*.tar") + samples(output, "validation-*.tar")
    assert len(clips) == 6 * 3  # 16 frames at 8 fps are three clips of 5
    assert {sample.suffix for sample in clips} == {"mp4.mp4"}
    assert len({sample.key for sample in clips}) == len(clips)
    assert all(decode_clip(sample).frames.shape == (5, 32, 32, 3) for sample in clips)
    (still,) = samples(output, "stills-train-*.tar", STILL_SUFFIXES)
    assert decode_still(still).shape == (1, 32, 32, 3)
    assert {path.suffix for path in output.iterdir()} <= {".tar", ".json", ".jsonl", ""}
    assert not (output / ".work").exists()


def test_the_manifest_counts_what_is_there(prepared: tuple[Path, dict[str, Any]]) -> None:
    output, manifest = prepared
    assert manifest == json.loads((output / "manifest.json").read_text())
    for split in ("train", "validation"):
        side = manifest[split]
        clips = samples(output, f"{split}-*.tar")
        assert side["clips"] == len(clips) == sum(shard["samples"] for shard in side["shards"])
        assert side["clip_seconds"] == pytest.approx(len(clips) * 5 / 8)
        sizes = {path.name: path.stat().st_size for path in output.glob(f"{split}-*.tar")}
        assert {shard["name"]: shard["bytes"] for shard in side["shards"]} == sizes
    assert manifest["train"]["source_seconds"] + manifest["validation"]["source_seconds"] == pytest.approx(12)
    assert manifest["rejected"] == []


def test_no_source_is_on_both_sides(prepared: tuple[Path, dict[str, Any]]) -> None:
    output, _ = prepared
    sides = [
        {sample.key.rpartition("-")[0] for sample in samples(output, pattern)}
        for pattern in ("train-*.tar", "validation-*.tar")
    ]
    assert all(sides)
    assert not sides[0] & sides[1]
    listed = [json.loads(line) for line in (output / "sources.jsonl").read_text().splitlines()]
    assert {line["keys"].removesuffix("-*") for line in listed if line["split"] == "validation"} == sides[1]


def test_clips_are_what_the_tokenizer_would_see(footage: Path, tmp_path: Path) -> None:
    prepare([f"{footage}/take 0.mp4"], tmp_path / "out", SMALL.model_copy(update={"crf": 0}), processes=1)
    clip_format = ClipFormat(clip_frames=5, image_size=(32, 32))
    expected = list(read_clips(footage / "take 0.mp4", clip_format))[:3]
    stored = {
        sample.key[-6:]: decode_clip(sample).frames for sample in samples(tmp_path / "out", "train-*.tar")
    }
    for number, clip in enumerate(expected):
        error = np.abs(stored[f"{number:06d}"].astype(int) - clip).mean()
        assert error < 3  # chroma has half the pixels


def test_the_number_of_processes_does_not_show(
    prepared: tuple[Path, dict[str, Any]], footage: Path, tmp_path: Path
) -> None:
    prepare([str(footage)], tmp_path / "again", SMALL, processes=1)
    assert contents(tmp_path / "again") == contents(prepared[0])


def test_a_second_run_changes_nothing(prepared: tuple[Path, dict[str, Any]], footage: Path) -> None:
    output, manifest = prepared
    before = {path: path.stat().st_mtime_ns for path in output.iterdir()}
    assert prepare([str(footage)], output, SMALL) == manifest
    assert {path: path.stat().st_mtime_ns for path in output.iterdir()} == before


def test_other_settings_or_inputs_are_refused(prepared: tuple[Path, dict[str, Any]], footage: Path) -> None:
    output, _ = prepared
    before = contents(output)
    with pytest.raises(OutputMismatchError, match="shards of other settings"):
        prepare([str(footage)], output, SMALL.model_copy(update={"seed": 1}))
    write_video(np.zeros((32, 48, 64, 3), np.uint8), footage / "new.mp4", fps=16)
    with pytest.raises(OutputMismatchError, match="shards of other inputs"):
        prepare([str(footage)], output, SMALL)
    assert contents(output) == before


def test_what_cannot_be_used_is_told_with_its_reason(footage: Path, tmp_path: Path) -> None:
    whole = (footage / "take 0.mp4").read_bytes()
    (footage / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (footage / "copy.mp4").write_bytes(whole)
    (footage / "text.mp4").write_bytes(b"hello")
    (footage / "empty.mp4").touch()
    (footage / "broken.png").write_bytes((footage / "still.png").read_bytes()[:500])
    (footage / "notes.md").touch()
    (footage / "gone.mp4").symlink_to(footage / "nowhere.mp4")
    write_video(np.zeros((3, 48, 64, 3), np.uint8), footage / "short.mp4", fps=16)
    manifest = prepare([str(footage)], tmp_path / "out", SMALL, processes=2)
    reasons = {Path(entry["source"]).name: entry["reason"] for entry in manifest["rejected"]}
    assert reasons == {
        "broken.png": "corrupt_video",
        "cut.mp4": "corrupt_video",
        "empty.mp4": "unsupported_media",
        "notes.md": "unknown_kind",
        "short.mp4": "too_short",
        "take 0.mp4": "duplicate",
        "text.mp4": "unsupported_media",
    }
    assert all(entry["message"] for entry in manifest["rejected"])
    assert manifest["train"]["clips"] + manifest["validation"]["clips"] == 18


def test_nothing_usable_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_bytes(b"hello")
    with pytest.raises(NoDataError, match="none of 1 files could be used: unsupported_media"):
        prepare([str(tmp_path / "text.mp4")], tmp_path / "out", SMALL, processes=1)


def test_scene_cuts_are_avoided_by_setting(tmp_path: Path) -> None:
    scenes = np.concatenate([np.full((7, 48, 64, 3), level, np.uint8) for level in (20, 120, 220)])
    write_video(scenes, tmp_path / "scenes.mp4", fps=8)
    counts = {}
    for threshold in (0.0, 0.4):
        settings = SMALL.model_copy(update={"scene_threshold": threshold})
        output = tmp_path / f"out {threshold}"
        prepare([str(tmp_path / "scenes.mp4")], output, settings, processes=1)
        clips = [decode_clip(sample).frames for sample in samples(output, "train-*.tar")]
        counts[threshold] = len(clips)
        if threshold:
            assert all(int(clip.max()) - int(clip.min()) < 50 for clip in clips)
    assert counts == {0.0: 4, 0.4: 3}


def test_scales_offsets_and_pans_multiply_clips(footage: Path, tmp_path: Path) -> None:
    settings = SMALL.model_copy(
        update={
            "image_size": (16, 16),
            "scales": (1.0, 0.5),
            "crops": 2,
            "offsets": 2,
            "pans": 3,
            "stride": 5,
        }
    )
    inputs = [f"{footage}/take 1.mp4", f"{footage}/still.png"]
    manifest = prepare(inputs, tmp_path / "out", settings, processes=1)
    assert manifest["train"]["clips"] == 2 * 3 * 4 + 3
    assert manifest["train"]["stills"] == 4


def test_one_run_at_a_time(footage: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    with open(output / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OutputMismatchError, match="another run is writing"):
            prepare([str(footage)], output, SMALL)


def test_an_output_that_cannot_be_written_is_one_line(footage: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataWriteError, match="file"):
        prepare([str(footage)], tmp_path / "file" / "out", SMALL)


def command(footage: Path, output: Path) -> list[str]:
    """The command that prepares with the settings of SMALL."""
    options = {"clip-frames": 5, "size": 32, "clips-per-shard": 4, "validation": 0.3, "processes": 1}
    flags = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    return [sys.executable, "-m", "training", "prepare", str(footage), str(output), *flags]


@pytest.mark.parametrize("after", [slow(1), 4])
def test_goes_on_after_a_kill(footage: Path, tmp_path: Path, after: int) -> None:
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    (footage / "take 0.txt").write_text("a caption")
    (footage / "take 4.json").write_text('{"licence": "CC0"}')
    prepare([str(footage)], straight, SMALL, processes=1)
    journal = killed / ".work" / "journal.jsonl"
    process = subprocess.Popen(command(footage, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (journal.exists() and journal.read_text().count('"stamp"') >= after) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.kill()
    process.wait()
    prepare([str(footage)], killed, SMALL, processes=1)
    assert contents(killed) == contents(straight)
    assert not (killed / ".work").exists()


def test_goes_on_with_a_torn_journal_and_a_torn_spool(footage: Path, tmp_path: Path) -> None:
    straight, torn = tmp_path / "straight", tmp_path / "torn"
    prepare([str(footage)], straight, SMALL, processes=1)
    spool = WorkFolder(torn)
    spool.open(SMALL)
    for number, source in enumerate(find_sources([str(footage)])[:4]):
        stamp = FileStamp.of(source, stamp_of(source))
        spool.add(cut_source(source, stamp, SMALL, spool.path(stamp)))
        if number == 0:
            spool.path(stamp).write_bytes(b"torn")
    journal = spool.folder / "journal.jsonl"
    journal.write_text(journal.read_text()[:-20])
    prepare([str(footage)], torn, SMALL, processes=1)
    assert contents(torn) == contents(straight)


def test_what_could_not_be_read_is_tried_again(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permission may have been given since, which changes neither the size nor the time of a file."""
    straight, again = tmp_path / "straight", tmp_path / "again"
    prepare([str(footage)], straight, SMALL, processes=1)

    def refused(path: str) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    spool = WorkFolder(again)
    spool.open(SMALL)
    source = find_sources([str(footage)])[0]
    with monkeypatch.context() as patch:
        patch.setattr(cutting, "_digest", refused)
        stamp = FileStamp.of(source, stamp_of(source))
        record = cut_source(source, stamp, SMALL, spool.path(stamp))
    assert (record.reason, record.message) == ("unreadable", "Permission denied")
    spool.add(record)
    assert prepare([str(footage)], again, SMALL, processes=1)["rejected"] == []
    assert contents(again) == contents(straight)


def test_goes_on_where_only_the_manifest_is_missing(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "manifest.json")

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_manifest", full)
        with pytest.raises(DataWriteError, match=r"^manifest\.json: No space left on device$"):
            prepare([str(footage)], output, SMALL, processes=1)
    shards = {path: path.stat().st_mtime_ns for path in output.glob("*.tar")}
    assert shards
    (output / ".cvivit-0.tmp").touch()
    prepare([str(footage)], output, SMALL, processes=1)
    assert {path: path.stat().st_mtime_ns for path in output.glob("*.tar")} == shards
    assert {path.name for path in output.glob(".*")} == {".lock"}


def test_inputs_may_change_until_there_are_shards(
    footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    output, fewer = tmp_path / "out", [f"{footage}/take [0-3].mp4"]
    for step, inputs in (("write_shards", [str(footage)]), ("write_manifest", fewer)):
        with monkeypatch.context() as patch:
            patch.setattr(run, step, killed)
            with pytest.raises(KeyboardInterrupt):
                prepare(inputs, output, SMALL, processes=1)
    before = contents(output)
    assert len(samples(output, "*.tar")) == 4 * 3
    for other in ([f"{footage}/take [0-2].mp4"], [str(footage)]):
        with pytest.raises(OutputMismatchError, match="shards of other inputs"):
            prepare(other, output, SMALL, processes=1)
    manifest = prepare(fewer, output, SMALL, processes=1)
    assert manifest["train"]["sources"] + manifest["validation"]["sources"] == 4
    assert contents(output) == before


def test_unfinished_work_of_other_settings_is_refused(footage: Path, tmp_path: Path) -> None:
    WorkFolder(tmp_path).open(SMALL)
    with pytest.raises(OutputMismatchError, match=r"unfinished work of other settings \(crf, seed\)"):
        prepare([str(footage)], tmp_path, SMALL.model_copy(update={"crf": 3, "seed": 4}))


def test_a_full_disk_is_one_line_and_loses_nothing(footage: Path, tmp_path: Path) -> None:
    def no_large_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))

    output = tmp_path / "out"
    result = subprocess.run(
        command(footage, output), capture_output=True, text=True, preexec_fn=no_large_files, timeout=200
    )
    assert result.returncode == 1
    assert result.stderr.startswith("data_write: ")
    assert result.stderr.count("\n") == 1
    assert not list(output.glob("*.tar"))
    prepare([str(footage)], output, SMALL, processes=1)
    assert len(samples(output, "[tv]*.tar")) == 18


def test_a_source_that_kills_or_outlasts_its_process_is_rejected() -> None:
    stamp = FileStamp(path="a.mp4", name="a.mp4", size=1, changed="1")
    errors = (
        (ProcessExpired("died"), "crashed"),
        (TimeoutError(), "timeout"),
        (KeyError("a bug"), "crashed"),
    )
    for error, reason in errors:
        future: Future[SourceOutcome] = Future()
        future.set_exception(error)
        assert result_of(future, stamp, SMALL).reason == reason
    full: Future[SourceOutcome] = Future()
    full.set_exception(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(OSError, match="No space left"):
        result_of(full, stamp, SMALL)
