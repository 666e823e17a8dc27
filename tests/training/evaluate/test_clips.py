"""Which clips are measured when a user names videos, shards and folders."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvivit.config import CViViTConfig
from cvivit.video import ClipFormat, encode_video, read_clips
from tests.servers import serving
from training.data import SkippedSample
from training.errors import NoDataError
from training.evaluate.clips import (
    EvaluationClip,
    find_inputs,
    read_evaluation_clips,
    read_evaluation_stills,
)


@pytest.fixture(scope="module")
def clip() -> bytes:
    return encode_video(np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8), fps=8)


def write_shard(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def read(
    names: list[str], config: CViViTConfig, *, leave_out: Collection[Path] = ()
) -> tuple[list[str], list[SkippedSample]]:
    """Return the keys of the clips, and what could not be read."""
    items = list(read_evaluation_clips(find_inputs(names, leave_out=leave_out), config))
    skipped = [item for item in items if isinstance(item, SkippedSample)]
    return [item.key.rpartition("/")[2] for item in items if not isinstance(item, SkippedSample)], skipped


def keys(names: list[str], config: CViViTConfig, *, leave_out: Collection[Path] = ()) -> list[str]:
    return read(names, config, leave_out=leave_out)[0]


def test_a_folder_of_shards_and_videos_gives_both(clip: bytes, tiny: CViViTConfig, tmp_path: Path) -> None:
    write_shard(tmp_path / "s.tar", {"a.mp4": clip})
    (tmp_path / "v.mp4").write_bytes(clip)
    assert keys([str(tmp_path)], tiny) == ["s.tar#a", "v.mp4#0"]


def test_a_shard_counts_once_however_it_is_spelt(
    clip: bytes, tiny: CViViTConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shard(tmp_path / "s.tar", {"a.mp4": clip})
    monkeypatch.chdir(tmp_path)
    names = ["s.tar", "./s.tar", str(tmp_path / "s.tar"), f"file://{tmp_path}/s.tar", str(tmp_path)]
    assert keys(names, tiny) == ["s.tar#a"]


def test_stills_that_prepare_put_beside_clips_are_read_as_stills(
    clip: bytes, tiny: CViViTConfig, tmp_path: Path
) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (40, 32), (10, 20, 30)).save(picture, "PNG")
    write_shard(tmp_path / "train-000000.tar", {"a.mp4": clip})
    write_shard(tmp_path / "stills-train-000000.tar", {"b.png": b"no picture", "c.png": picture.getvalue()})
    assert read([str(tmp_path)], tiny) == (["train-000000.tar#a"], [])
    broken, still = read_evaluation_stills(find_inputs([str(tmp_path)]), tiny)
    assert isinstance(broken, SkippedSample)
    assert isinstance(still, EvaluationClip)
    assert still.frames.shape == (1, 32, 32, 3)
    assert still.real == 1
    with pytest.raises(NoDataError, match="no clip could be read"):
        read([str(tmp_path / "stills-train-000000.tar")], tiny)


def test_an_earlier_animation_is_no_data(clip: bytes, tiny: CViViTConfig, tmp_path: Path) -> None:
    (tmp_path / "v.mp4").write_bytes(clip)
    (tmp_path / "evaluation").mkdir()
    animation = tmp_path / "evaluation" / "comparison.gif"
    animation.write_bytes(encode_video(np.zeros((5, 32, 32, 3), np.uint8), fps=8, container="gif"))
    assert len(keys([str(tmp_path)], tiny)) == 2
    assert keys([str(tmp_path)], tiny, leave_out=[animation]) == ["v.mp4#0"]


def test_videos_and_shards_behind_urls_are_told_apart(
    clip: bytes, tiny: CViViTConfig, tmp_path: Path
) -> None:
    write_shard(tmp_path / "s.tar", {"a.mp4": clip})
    (tmp_path / "v.mp4").write_bytes(clip)
    shard = (tmp_path / "s.tar").read_bytes()
    with serving({"/x/v.mp4": clip, "/s.tar": shard, "/l.txt": b"x/v.mp4"}) as server:
        names = [str(tmp_path / "v.mp4"), f"{server.url}/l.txt", f"{server.url}/s.tar"]
        assert keys(names, tiny) == ["s.tar#a", "v.mp4#0", "v.mp4#0"]


def test_an_empty_name_is_not_this_folder() -> None:
    with pytest.raises(NoDataError, match="an empty name"):
        find_inputs([""])


def test_bad_samples_are_listed_however_many(clip: bytes, tiny: CViViTConfig, tmp_path: Path) -> None:
    bad = {f"b{number:04}.mp4": b"no video" for number in range(1001)}
    write_shard(tmp_path / "s.tar", {"a.mp4": clip} | bad | {"z.mp4": clip})
    clips, skipped = read([str(tmp_path / "s.tar")], tiny)
    assert clips == ["s.tar#a", "s.tar#z"]
    assert len(skipped) == 1001


def test_a_video_that_needs_too_much_memory_is_listed(
    clip: bytes, tiny: CViViTConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_some(path: str, clip_format: ClipFormat) -> object:
        if path.endswith("a.mp4"):
            raise MemoryError
        return read_clips(path, clip_format)

    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(clip)
    monkeypatch.setattr("training.evaluate.clips.read_clips", read_some)
    clips, skipped = read([str(tmp_path)], tiny)
    assert clips == ["b.mp4#0"]
    assert [one.message for one in skipped] == ["needs more memory than there is"]
