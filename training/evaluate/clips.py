"""The clips to measure on: those of shards, or every window of the videos in folders."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from cvivit.config import CViViTConfig
from cvivit.errors import CViViTError
from cvivit.video import ClipFormat, read_clips
from training.data import ClipEpoch, SkippedSample, StreamSettings
from training.data.urls import PIPE, distinct, expand_shards, is_remote
from training.errors import NoDataError
from training.prepare.inputs import Source, find_sources
from training.prepare.packing import STILLS_PREFIX


@dataclass(frozen=True, kw_only=True)
class EvaluationClip:
    """One clip, uint8 (t h w c). Frames after the first `real` only pad it, and are not measured."""

    key: str
    frames: np.ndarray
    real: int


@dataclass(frozen=True, kw_only=True)
class EvaluationInputs:
    """The files that a user named to measure on, each once."""

    shards: tuple[str, ...]
    videos: tuple[str, ...]


def find_inputs(names: Sequence[str], *, leave_out: Collection[Path] = ()) -> EvaluationInputs:
    """Look for what was named, which may be misspelt, before anybody fetches or computes anything.

    Args:
        names: shards (see `expand_shards`), and folders, globs, lists and files of videos. A folder may hold
            both, as one that `prepare` filled and somebody copied videos to.
        leave_out: files that are not data although they lie there: an earlier report's own animation.

    Raises:
        NoDataError: a name matches nothing.
    """
    shards: list[str] = []
    sources: list[Source] = []
    others: list[str] = []
    for name in names:
        if not _are_shards(name):
            others.append(name)
            continue
        given = expand_shards([name])
        if Path(name).is_dir():
            given = [shard for shard in given if not Path(shard).name.startswith(STILLS_PREFIX)]
            with suppress(NoDataError):
                sources += find_sources([name])
        shards += given
    if others or not (shards or sources):
        sources += find_sources(others)
    left_out = set(map(os.path.abspath, leave_out))
    videos = {source.path for source in sources if source.kind == "video"}
    return EvaluationInputs(shards=tuple(distinct(shards)), videos=tuple(sorted(videos - left_out)))


def read_evaluation_clips(
    inputs: EvaluationInputs, config: CViViTConfig, *, limit: int | None = None
) -> Iterator[EvaluationClip | SkippedSample]:
    """Yield the clips of shards, then those of videos, and what could not be read where it was found.

    Args:
        inputs: where the clips are.
        config: of the network; clips are read in its form.
        limit: the most clips; the first ones are taken.

    Raises:
        NoDataError: none could be read.
    """
    count = 0
    skipped: list[SkippedSample] = []
    for item in chain(_of_shards(inputs.shards, config), _of_videos(inputs.videos, config)):
        yield item
        if isinstance(item, SkippedSample):
            skipped.append(item)
        else:
            count += 1
            if count == limit:
                return
    if not count:
        reasons = "; ".join(map(str, skipped[:3]))
        raise NoDataError(f"no clip could be read{f' ({reasons})' if reasons else ''}")


def _of_shards(shards: Sequence[str], config: CViViTConfig) -> Iterator[EvaluationClip | SkippedSample]:
    if not shards:
        return
    settings = StreamSettings(
        clips=tuple(shards),
        batch_size=1,
        clip_frames=config.clip_frames,
        image_size=config.image_size,
        fps=float(config.fps),
        max_bad_samples=sys.maxsize,  # the report lists them, however many there are
    )
    for item in ClipEpoch(settings):
        if isinstance(item, SkippedSample):
            yield item
        else:
            frames = item.video[0].numpy()
            yield EvaluationClip(key=item.keys[0], frames=frames, real=config.clip_frames)


def _of_videos(videos: Sequence[str], config: CViViTConfig) -> Iterator[EvaluationClip | SkippedSample]:
    clip_format = ClipFormat.of(config)
    for path, name in zip(videos, _names(videos), strict=True):
        before = 0
        try:
            with read_clips(path, clip_format) as reader:
                for number, frames in enumerate(reader):
                    yield EvaluationClip(key=f"{name}#{number}", frames=frames, real=reader.frames - before)
                    before = reader.frames
        except MemoryError:
            yield SkippedSample(source=path, message="needs more memory than there is")
        except (CViViTError, OSError) as error:
            yield SkippedSample(source=path, message=str(error))


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
