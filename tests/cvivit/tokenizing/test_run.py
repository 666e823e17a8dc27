"""Token datasets of real videos: their tokens, captions and times, and what cannot be used.

Starting processes that read takes seconds, so tests of other things read in this process, with `MakePlainly`.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvivit import VideoTokenizer
from cvivit.bulk import EncodedSource, FailedSource, ReadOptions, Result, encode_sources
from cvivit.errors import (
    ConfigError,
    CViViTError,
    NoDataError,
    OutputMismatchError,
    TooManyFailedError,
)
from cvivit.files import SIBLING_PREFIX
from cvivit.folders import lock_folder
from cvivit.inputs import Source, find_sources
from cvivit.tokenizing.ceiling import FailureCeiling
from cvivit.tokenizing.making import ShowProgress
from cvivit.tokenizing.plan import Plan
from cvivit.tokenizing.run import tokenize
from cvivit.tokenizing.settings import TokenizeSettings
from cvivit.tokenizing.shards import ShardRecord, part_of, to_encode, write_shard
from cvivit.tokens import TokenDataset
from cvivit.tokens.datasets.manifest import Form
from tests.servers import serving
from tests.shard_files import write_tar

FORMS: tuple[Form, ...] = ("webdataset", "flat", "parquet")


class MakePlainly:
    """Makes shards by reading one video after the other in this process."""

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self._tokenizer = tokenizer

    def __call__(
        self, plan: Plan, missing: Sequence[int], ceiling: FailureCeiling, *, progress: ShowProgress | None
    ) -> Iterator[ShardRecord]:
        for number in missing:
            task = plan.task(number)
            record = write_shard(task, map(self._encoded, to_encode(task, part_of(task).done)))
            ceiling.add(record.failed, record.skipped[-1].message if record.skipped else "")
            yield record

    def _encoded(self, source: Source) -> Result:
        try:
            grid = self._tokenizer.encode(source.location)
        except CViViTError as error:
            return FailedSource(source=source, code=error.code, message=str(error))
        first_frames = tuple(range(0, 5 * len(grid.indices), 5))
        return EncodedSource(
            source=source, indices=grid.indices, frames=grid.frames, first_frames=first_frames
        )


def made(
    videos: Path,
    output: Path,
    tokenizer: VideoTokenizer,
    *,
    readers: int | None = None,
    max_failed: str = "5%",
    **settings: Any,
) -> TokenDataset:
    """Tokenize a folder and open the dataset. If `readers` is given, that many processes read."""
    tokenize(
        [str(videos)],
        output,
        tokenizer,
        TokenizeSettings(**({"sources_per_shard": 3} | settings)),
        readers=readers,
        max_failed=max_failed,
        make_shards=None if readers else MakePlainly(tokenizer),
    )
    return TokenDataset(output, model=tokenizer, check=True)


def files_of(folder: Path) -> dict[str, str]:
    """Return digests of the files of a dataset."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize("form", FORMS)
def test_a_dataset_has_the_tokens_captions_and_times_of_its_sources(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer, form: Form
) -> None:
    dataset = made(videos, tmp_path / "out", tiny_tokenizer, form=form, readers=2)
    paths = sorted(videos.rglob("*.mp4"), key=str)
    assert len(dataset) == len(paths) == 7
    for sample, path in zip(dataset, paths, strict=True):
        grid = tiny_tokenizer.encode(path)
        np.testing.assert_array_equal(sample.tokens, grid.indices)
        caption = path.with_suffix(".txt")
        assert sample.caption == (caption.read_text() if caption.exists() else None)
        assert sample.metadata == ({"camera": "B", "take": [1, 2]} if path.stem == "clip.1" else None)
        assert sample.key == str(path.relative_to(videos).with_suffix("")).replace("clip.", "clip_")
        assert (sample.source, sample.frames, sample.fps) == (str(path), grid.frames, 8.0)
        assert sample.model == tiny_tokenizer.fingerprint
        assert sample.first_frames == tuple(range(0, 5 * len(grid.indices), 5))
        assert sample.times == tuple(frame / 8 for frame in sample.first_frames)
    counts = dataset.manifest.counts
    assert counts["sources"] == counts["used"] == counts["samples"] == 7
    assert counts["windows"] == sum(len(sample.tokens) for sample in dataset)
    assert counts["tokens"] == 3 * 4 * 4 * counts["windows"]
    assert counts["captions"] == 6
    assert [shard.samples for shard in dataset.manifest.shards] == [3, 3, 1]
    assert not (tmp_path / "out" / ".work").exists()


def test_windows_are_cut_into_samples(videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer) -> None:
    whole = made(videos, tmp_path / "whole", tiny_tokenizer)
    cut = made(videos, tmp_path / "cut", tiny_tokenizer, windows=2)
    dropped = made(
        videos, tmp_path / "dropped", tiny_tokenizer, windows=2, drop_last=True, sources_per_shard=9
    )
    by_key = {sample.key: sample for sample in cut}
    kept = []
    for sample in whole:
        parts = [by_key.pop(f"{sample.key}-{n:06d}") for n in range(-(-len(sample.tokens) // 2))]
        np.testing.assert_array_equal(np.concatenate([part.tokens for part in parts]), sample.tokens)
        assert sum((part.times for part in parts), ()) == sample.times
        assert sum(part.frames for part in parts) == sample.frames
        assert {part.caption for part in parts} == {sample.caption}
        kept += [part.key for part in parts if len(part.tokens) == 2]
    assert not by_key
    assert [sample.key for sample in dropped] == kept
    short = [sample.source for sample in whole if len(sample.tokens) < 2]
    assert [(one.source, one.reason) for one in dropped.manifest.skipped] == [(s, "too_short") for s in short]


def test_windows_overlap_and_begin_later(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    dataset = made(videos, tmp_path / "out", tiny_tokenizer, overlap=2, start=0.25, readers=1)
    sources = find_sources([str(videos)])
    results = encode_sources(tiny_tokenizer, sources, ReadOptions(overlap=2, start=0.25), readers=1)
    for sample, result in zip(dataset, results, strict=True):
        np.testing.assert_array_equal(sample.tokens, result.indices)  # type: ignore[union-attr]
        assert sample.first_frames == tuple(range(0, 3 * len(sample.tokens), 3))
        assert sample.times == tuple(frame / 8 + 0.25 for frame in sample.first_frames)


def test_the_number_of_readers_changes_nothing(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    for readers in (1, 4, None):
        made(videos, tmp_path / str(readers), tiny_tokenizer, readers=readers)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "4") == files_of(tmp_path / "None")


def test_what_cannot_be_used_is_listed(videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer) -> None:
    shutil.copytree(videos, tmp_path / "in")
    (tmp_path / "in" / "broken.mp4").write_bytes(b"not a video at all" * 9)
    (tmp_path / "in" / "clip.2.json").write_text("{")
    (tmp_path / "in" / "notes.pdf").write_text("no video")
    with pytest.raises(TooManyFailedError, match=r"2 of 8 inputs cannot be used, more than --max-failed 5%"):
        made(tmp_path / "in", tmp_path / "out", tiny_tokenizer)
    dataset = made(tmp_path / "in", tmp_path / "out", tiny_tokenizer, max_failed="2")
    skipped = {Path(one.source).name: (one.reason, one.message) for one in dataset.manifest.skipped}
    assert set(skipped) == {"broken.mp4", "clip.2.mp4"}
    assert skipped["broken.mp4"][0] == "unsupported_media"
    assert skipped["clip.2.mp4"][0] == "invalid_sidecar"
    assert len(dataset) == 6


def test_nothing_that_can_be_used_is_an_error(tmp_path: Path, tiny_tokenizer: VideoTokenizer) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.mp4").write_bytes(b"x")
    with pytest.raises(NoDataError, match=r"none of 1 inputs could be used \(.*broken\.mp4"):
        made(tmp_path / "in", tmp_path / "out", tiny_tokenizer, max_failed="100%")


def test_files_of_the_same_contents_are_used_once(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    shutil.copytree(videos, tmp_path / "in")
    shutil.copy(videos / "clip.0.mp4", tmp_path / "in" / "again.mp4")
    shutil.copy(videos / "clip.0.mp4", tmp_path / "in" / "z.mp4")
    dataset = made(tmp_path / "in", tmp_path / "out", tiny_tokenizer, deduplicate=True)
    first = str(tmp_path / "in" / "again.mp4")
    assert {Path(one.source).name: one.message for one in dataset.manifest.duplicates} == {
        "clip.0.mp4": f"the same file as {first}",
        "z.mp4": f"the same file as {first}",
    }
    assert len(dataset) == 7
    assert dataset.manifest.counts["duplicates"] == 2
    assert not dataset.manifest.skipped


def test_sources_of_one_stem_have_keys_of_their_own(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.mp4", "a.mov", "a.b.mp4", "a_b.mp4", "c.mp4"):
        shutil.copy(videos / "clip.0.mp4", tmp_path / "in" / name)
    keys = [sample.key for sample in made(tmp_path / "in", tmp_path / "out", tiny_tokenizer)]
    assert len(set(keys)) == 5
    assert [key.partition("-")[0] for key in keys] == ["a_b", "a", "a", "a_b", "c"]
    assert keys[-1] == "c"


def test_a_finished_dataset_is_left_as_it_is(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    made(videos, tmp_path / "out", tiny_tokenizer)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    made(videos, tmp_path / "out", tiny_tokenizer)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")} == times
    for settings, name in (
        ({"overlap": 1}, "overlap"),
        ({"form": "flat"}, "form"),
        ({"windows": 1}, "windows"),
    ):
        with pytest.raises(OutputMismatchError, match=f"a dataset that differs in {name}"):
            made(videos, tmp_path / "out", tiny_tokenizer, **settings)
    with pytest.raises(OutputMismatchError, match="a dataset that differs in inputs"):
        made(videos / "deep", tmp_path / "out", tiny_tokenizer)


def test_an_unfinished_dataset_is_continued_with_the_same_only(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    def killed(*_: object, **__: object) -> Iterator[ShardRecord]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize([str(videos)], tmp_path / "out", tiny_tokenizer, make_shards=killed)
    with pytest.raises(NoDataError, match="unfinished"):
        TokenDataset(tmp_path / "out")
    with pytest.raises(OutputMismatchError, match="an unfinished dataset that differs in sources_per_shard"):
        made(videos, tmp_path / "out", tiny_tokenizer)
    (tmp_path / "out" / f"{SIBLING_PREFIX}left.tmp").touch()
    tokenize([str(videos)], tmp_path / "out", tiny_tokenizer, make_shards=MakePlainly(tiny_tokenizer))
    assert len(TokenDataset(tmp_path / "out", check=True)) == 7
    assert set(files_of(tmp_path / "out")) == {"manifest.json", "tokens-000000.tar"}


def test_videos_in_shards_are_sources(videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer) -> None:
    first, second = ((videos / f"clip.{number}.mp4").read_bytes() for number in (0, 2))
    shard = write_tar(
        tmp_path / "a.tar", {"x.mp4": first, "x.txt": b"hi", "x.json": b'{"n": 1}', "y.mp4": second}
    )
    dataset = made(shard, tmp_path / "out", tiny_tokenizer, readers=1)
    assert [(one.key, one.caption, one.metadata) for one in dataset] == [
        ("x", "hi", {"n": 1}),
        ("y", None, None),
    ]
    assert [one.source for one in dataset] == [f"{shard}#x.mp4", f"{shard}#y.mp4"]
    for sample, video in zip(dataset, (first, second), strict=True):
        np.testing.assert_array_equal(sample.tokens, tiny_tokenizer.encode(video).indices)


def test_videos_in_shards_behind_urls_are_sources(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    films = {f"{number}.mp4": (videos / f"clip.{number}.mp4").read_bytes() for number in (0, 2, 4)}
    shard = write_tar(tmp_path / "a-0.tar", films | {"2.txt": b"two"})
    whole = made(shard, tmp_path / "whole", tiny_tokenizer, readers=1)
    for ranges in (True, False):
        output = tmp_path / str(ranges)
        with serving(
            {"/s/a-0.tar": shard.read_bytes(), "/s/a-1.tar": shard.read_bytes()}, ranges=ranges
        ) as server:
            settings = TokenizeSettings()
            tokenize([f"{server.url}/s/a-{{0..1}}.tar"], output, tiny_tokenizer, settings, readers=2)
        dataset = TokenDataset(output, check=True)
        assert [sample.caption for sample in dataset] == [None, "two", None] * 2
        for sample, expected in zip(dataset, [*whole, *whole], strict=True):
            np.testing.assert_array_equal(sample.tokens, expected.tokens)


def test_the_output_may_lie_in_an_input(videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer) -> None:
    shutil.copytree(videos, tmp_path / "in")
    for _ in range(2):
        assert len(made(tmp_path / "in", tmp_path / "in" / "tokens", tiny_tokenizer)) == 7


def test_only_one_run_writes_to_a_folder(
    videos: Path, tmp_path: Path, tiny_tokenizer: VideoTokenizer
) -> None:
    with (
        lock_folder(tmp_path / "out"),
        pytest.raises(OutputMismatchError, match="another run is writing"),
    ):
        made(videos, tmp_path / "out", tiny_tokenizer)


@pytest.mark.parametrize("limit", ["", "five", "101%", "1.5", "-1", "5 %%"])
def test_a_limit_that_is_none_is_refused(limit: str, tmp_path: Path, tiny_tokenizer: VideoTokenizer) -> None:
    with pytest.raises(ConfigError, match="neither a share such as 5% nor a number"):
        tokenize([str(tmp_path / "gone")], tmp_path / "out", tiny_tokenizer, max_failed=limit)
