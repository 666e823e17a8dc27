"""The clips to measure on: those of shards, or every window of the videos in folders."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from cvivit.config import CViViTConfig
from cvivit.errors import CViViTError
from cvivit.video import ClipFormat, read_clips
from training.data import ClipEpoch, StreamSettings
from training.data.urls import PIPE, distinct, expand_shards, is_remote
from training.errors import NoDataError
from training.prepare.inputs import Source, find_sources
from training.prepare.packing import STILLS_PREFIX


@dataclass(frozen=True, kw_only=True)
class EvaluationClip:
    """One clip, uint8 (t h w c). Frames after the first `real` pad it: they are not measured."""

    key: str
    frames: np.ndarray
    real: int


@dataclass
class EvaluationClips:
    """The clips of shards, then those of videos, in the order of their names.

    Args:
        inputs: shards (see `expand_shards`), and folders, globs, lists and files of videos.
        config: of the network; clips are read in its form.
        limit: clips at most, the first ones.
        leave_out: files that are no data wherever they lie: an earlier report's own animation.

    Raises:
        NoDataError: an input matches nothing.
    """

    inputs: Sequence[str]
    config: CViViTConfig
    limit: int | None = None
    leave_out: Collection[Path] = ()
    unreadable: list[dict[str, str]] = field(default_factory=list)
    """Videos, shards and their samples that could not be read to their end, known after the iteration."""

    def __post_init__(self) -> None:
        """Look for what was named, which may be misspelt, before anybody fetches or computes anything."""
        shards: list[str] = []
        videos: list[Source] = []
        for name in self.inputs:
            if not _are_shards(name):
                continue
            given = expand_shards([name])
            if Path(name).is_dir():  # which may be what `prepare` filled, or hold videos as well
                given = [shard for shard in given if not Path(shard).name.startswith(STILLS_PREFIX)]
                with suppress(NoDataError):
                    videos += find_sources([name])
            shards += given
        others = [name for name in self.inputs if not _are_shards(name)]
        videos += find_sources(others) if others or not (shards or videos) else []
        self._shards = distinct(shards)
        left_out = set(map(os.path.abspath, self.leave_out))
        paths = {source.path for source in videos if source.kind == "video"}
        self._videos = sorted(paths - left_out)

    def __iter__(self) -> Iterator[EvaluationClip]:
        """Yield clips.

        Raises:
            NoDataError: none could be read.
        """
        clips = self._of_both()
        first = None
        with closing(clips):  # what was skipped is known when it ends, wherever that is
            for clip in islice(clips, self.limit):
                first = first or clip
                yield clip
        if first is None:
            reasons = "; ".join(f"{entry['source']}: {entry['message']}" for entry in self.unreadable[:3])
            raise NoDataError(f"no clip could be read{f' ({reasons})' if reasons else ''}")

    def _of_both(self) -> Generator[EvaluationClip]:
        if self._shards:
            yield from self._of_shards()
        yield from self._of_videos()

    def _of_shards(self) -> Generator[EvaluationClip]:
        settings = StreamSettings(
            clips=tuple(self._shards),
            batch_size=1,
            clip_frames=self.config.clip_frames,
            image_size=self.config.image_size,
            max_bad_samples=sys.maxsize,  # they are listed, however many
        )
        epoch = ClipEpoch(settings)
        try:
            for batch in epoch:
                yield EvaluationClip(
                    key=batch.keys[0], frames=batch.video[0].numpy(), real=self.config.clip_frames
                )
        finally:
            self.unreadable += map(asdict, epoch.skipped)

    def _of_videos(self) -> Generator[EvaluationClip]:
        clip_format = ClipFormat.of(self.config)
        for path, name in zip(self._videos, _names(self._videos), strict=True):
            before = 0
            try:
                with read_clips(path, clip_format) as reader:
                    for number, frames in enumerate(reader):
                        yield EvaluationClip(
                            key=f"{name}#{number}", frames=frames, real=reader.frames - before
                        )
                        before = reader.frames
            except MemoryError:
                self.unreadable.append({"source": path, "message": "needs more memory than there is"})
            except (CViViTError, OSError) as error:
                self.unreadable.append({"source": path, "message": str(error)})


def _names(paths: Sequence[str]) -> list[str]:
    """Return the files' names, with as much of the path as all do not share where several have the same."""
    counts = Counter(map(os.path.basename, paths))
    above = os.path.commonpath(paths) if paths else ""
    names = ((os.path.basename(path), path) for path in paths)
    return [name if counts[name] == 1 else os.path.relpath(path, above) for name, path in names]


def _are_shards(name: str) -> bool:
    path = Path(name)
    if path.is_dir():
        return any(path.glob("*.tar"))
    return name.startswith(PIPE) or is_remote(name) or ".tar" in path.suffixes
