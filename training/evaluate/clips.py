"""The clips to measure on: those of shards, and every window of the videos in folders."""

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
from cvivit.inputs import Source, find_sources
from cvivit.inputs.kinds import LIST_SUFFIXES, TABLE_SUFFIXES, has_pictures
from cvivit.inputs.locations import suffix_of
from cvivit.inputs.reading import local_copy
from cvivit.shards.urls import PIPE, distinct, expand_shards, is_remote
from cvivit.video import ClipFormat, read_clips
from training.data import ClipEpoch, SkippedSample, StreamSettings
from training.errors import NoDataError
from training.prepare.packing import STILLS_PREFIX


@dataclass(frozen=True, kw_only=True)
class EvaluationClip:
    """One clip, uint8 (t h w c). Frames after the first `real` only pad it, and are not measured."""

    key: str
    frames: np.ndarray
    real: int


@dataclass(frozen=True, kw_only=True)
class EvaluationInputs:
    """The files to measure on, without duplicates."""

    shards: tuple[str, ...]
    """Shards of clips."""
    videos: tuple[str, ...]
    stills: tuple[str, ...] = ()
    """Shards of stills, as `prepare` names them."""


def find_inputs(names: Sequence[str], *, leave_out: Collection[Path] = ()) -> EvaluationInputs:
    """Find the files that a user named, before anything is computed, so that a misspelt name fails early.

    Args:
        names: shards (see `expand_shards`), and folders, globs, lists and files of videos. A folder may hold
            both, such as one that `prepare` filled and to which somebody copied videos.
        leave_out: files that are not data although they lie there: the animation of an earlier report.

    Raises:
        NoDataError: a name matches nothing.
        InputError: a list, a table or a URL cannot be read or understood.
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
            with suppress(NoDataError):
                sources += find_sources([name])
        shards += given
    if others or not (shards or sources):
        sources += find_sources(others)
    left_out = set(map(os.path.abspath, leave_out))
    videos = {source.location for source in sources if source.kind == "video"}
    once = distinct(shards)
    stills = [shard for shard in once if Path(shard).name.startswith(STILLS_PREFIX)]
    clips = [shard for shard in once if shard not in set(stills)]
    return EvaluationInputs(
        shards=tuple(clips), videos=tuple(sorted(videos - left_out)), stills=tuple(stills)
    )


def read_evaluation_clips(
    inputs: EvaluationInputs, config: CViViTConfig, *, limit: int | None = None
) -> Iterator[EvaluationClip | SkippedSample]:
    """Yield the clips of shards, then those of videos, with a SkippedSample for each that cannot be read.

    Args:
        inputs: the files that hold the clips.
        config: the network, which decides the size, length and rate of the clips.
        limit: the most clips to yield: the first ones.

    Raises:
        NoDataError: no clip could be read.
    """
    found = chain(_of_shards(inputs.shards, config), _of_videos(inputs.videos, config))
    return _first(found, limit)


def read_evaluation_stills(
    inputs: EvaluationInputs, config: CViViTConfig, *, limit: int | None = None
) -> Iterator[EvaluationClip | SkippedSample]:
    """Yield the stills of shards as clips of one frame, with a SkippedSample for each that cannot be read.

    Arguments and errors are those of `read_evaluation_clips`.
    """
    return _first(_of_shards((), config, stills=inputs.stills), limit)


def _first(
    items: Iterator[EvaluationClip | SkippedSample], limit: int | None
) -> Iterator[EvaluationClip | SkippedSample]:
    count = 0
    skipped: list[SkippedSample] = []
    for item in items:
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


def _of_shards(
    shards: Sequence[str], config: CViViTConfig, *, stills: Sequence[str] = ()
) -> Iterator[EvaluationClip | SkippedSample]:
    if not shards and not stills:
        return
    settings = StreamSettings(
        clips=tuple(shards),
        stills=tuple(stills),
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
            yield EvaluationClip(key=item.keys[0], frames=frames, real=len(frames))


def _of_videos(videos: Sequence[str], config: CViViTConfig) -> Iterator[EvaluationClip | SkippedSample]:
    clip_format = ClipFormat.of(config)
    for path, name in zip(videos, _names(videos), strict=True):
        before = 0
        try:
            with local_copy(path) as opened, read_clips(opened, clip_format) as reader:
                for number, frames in enumerate(reader):
                    yield EvaluationClip(key=f"{name}#{number}", frames=frames, real=reader.frames - before)
                    before = reader.frames
        except MemoryError:
            yield SkippedSample(source=path, message="needs more memory than there is")
        except (CViViTError, OSError) as error:
            yield SkippedSample(source=path, message=str(error))


def _names(paths: Sequence[str]) -> list[str]:
    """Return the names of files. Files of the same name keep the part of their paths in which they differ."""
    counts = Counter(map(os.path.basename, paths))
    local = [os.path.dirname(path) for path in paths if not is_remote(path)]
    above = os.path.commonpath(local) if local else ""
    names = ((os.path.basename(path), path) for path in paths)
    return [
        name if counts[name] == 1 else path if is_remote(path) else os.path.relpath(path, above)
        for name, path in names
    ]


def _are_shards(name: str) -> bool:
    path = Path(name)
    if path.is_dir():
        return any(path.glob("*.tar"))
    suffix = suffix_of(name).lower()
    remote = is_remote(name) and not (has_pictures(name) or suffix in LIST_SUFFIXES | TABLE_SUFFIXES)
    return name.startswith(PIPE) or remote or ".tar" in path.suffixes
