"""What one worker does: read, shuffle, decode, augment, and make batches that carry its position."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from cvivit.errors import CViViTError
from training.data.augment import augment, centre, pick_window
from training.data.bad import BadSamples, SkippedSample
from training.data.decode import decode_clip, decode_still
from training.data.order import Reader, is_stills
from training.data.shards import STILL_SUFFIXES, VIDEO_SUFFIXES, RawSample
from training.data.shuffle import ShuffledSamples
from training.errors import SampleError


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """What a stream is made of, the same for every worker of every rank."""

    clips: tuple[str, ...]
    stills: tuple[str, ...] = ()
    stills_ratio: float = 0.0
    batch_size: int
    clip_frames: int
    image_size: tuple[int, int]
    shuffle: int = 1
    seed: int = 0
    flip: float = 0.0
    crop_scale: tuple[float, float] = (1.0, 1.0)
    augmented: bool = True
    """Whether windows, crops and flips are random; else the first window and the centre are taken."""
    max_bad_samples: int = 0


@dataclass(frozen=True, kw_only=True)
class WorkerMessage:
    """A batch with the position of its worker after it, the error that ended the worker, or its last word."""

    worker: int
    video: torch.Tensor | None = None
    keys: tuple[str, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[SkippedSample, ...] = ()
    """What its worker could not use since the message before."""
    error: CViViTError | None = None


class ClipStream(IterableDataset[WorkerMessage]):
    """Batches of the workers of one rank: endless, or one epoch each.

    Args:
        settings: see there.
        rank: this process among the `world_size` that train.
        workers: readers of this rank, at least 1.
        states: position of each worker, from `WorkerMessage.state`, or None to start.
        first: number of the worker whose turn it is; loaders ask workers in turn, beginning with their first.
        once: whether to end after the epoch, with a last batch that may be smaller, rather than go on.
    """

    def __init__(
        self,
        settings: StreamSettings,
        *,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 1,
        states: Sequence[dict[str, Any] | None] = (),
        first: int = 0,
        once: bool = False,
    ) -> None:
        self._settings = settings
        self._rank = rank
        self._world_size = world_size
        self._workers = workers
        self._states = states or [None] * workers
        self._first = first
        self._once = once

    def __iter__(self) -> Iterator[WorkerMessage]:
        """Yield the messages of the worker that this runs in."""
        info = get_worker_info()
        worker = (self._first + (info.id if info else 0)) % self._workers
        reader = Reader(index=self._rank * self._workers + worker, count=self._world_size * self._workers)
        maker = _BatchMaker(self._settings, reader, self._states[worker])
        try:
            messages = maker.epoch() if self._once else maker.forever(worker, self._workers)
            for video, keys in messages:
                yield WorkerMessage(
                    worker=worker, video=video, keys=keys, state=maker.state_dict(), skipped=maker.skipped()
                )
            yield WorkerMessage(worker=worker, skipped=maker.skipped())
        # Raised in a worker, it would reach the training process as a traceback in a string.
        except CViViTError as error:
            yield WorkerMessage(worker=worker, error=error)


_NamedFrames = tuple[str, np.ndarray]
_Arrays = tuple[torch.Tensor, tuple[str, ...]]


class _BatchMaker:
    """The batches of one reader."""

    def __init__(self, settings: StreamSettings, reader: Reader, state: dict[str, Any] | None) -> None:
        state = state or {}
        self._settings = settings
        self._made: int = state.get("batches", 0)
        self._bad: Counter[str] = Counter(state.get("bad"))
        ceilings = state.get("ceilings", {})
        self._clips, self._stills = (
            ShuffledSamples(
                shards,
                suffixes=suffixes,
                seed=settings.seed,
                buffer=settings.shuffle,
                reader=reader,
                bad=BadSamples(ceiling=settings.max_bad_samples, counts=self._bad, state=ceilings.get(name)),
                start=state.get(name),
            )
            for name, shards, suffixes in (
                ("clips", settings.clips, VIDEO_SUFFIXES),
                ("stills", settings.stills, STILL_SUFFIXES),
            )
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "batches": self._made,
            "clips": self._clips.state_dict(),
            "stills": self._stills.state_dict(),
            "bad": dict(self._bad),
            "ceilings": {"clips": self._clips.bad.state_dict(), "stills": self._stills.bad.state_dict()},
        }

    def skipped(self) -> tuple[SkippedSample, ...]:
        return self._clips.bad.take() + self._stills.bad.take()

    def forever(self, worker: int, workers: int) -> Iterator[_Arrays]:
        clips = self._usable(self._clips, iter(self._clips))
        stills = self._usable(self._stills, iter(self._stills))
        while True:
            number = worker + self._made * workers
            source = stills if is_stills(number, self._settings.stills_ratio) else clips
            batch = [next(source) for _ in range(self._settings.batch_size)]
            self._made += 1
            yield _stack(batch)

    def epoch(self) -> Iterator[_Arrays]:
        batch: list[_NamedFrames] = []
        for clip in self._usable(self._clips, self._clips.epoch()):
            batch.append(clip)
            if len(batch) == self._settings.batch_size:
                yield _stack(batch)
                batch = []
        if batch:
            yield _stack(batch)

    def _usable(self, source: ShuffledSamples, samples: Iterator[RawSample]) -> Iterator[_NamedFrames]:
        for sample in samples:
            try:
                frames = self._frames(sample, source.position.epoch)
            except SampleError as error:
                source.bad.add(error, sample.name)
            else:
                source.bad.good()
                yield sample.name, frames

    def _frames(self, sample: RawSample, epoch: int) -> np.ndarray:
        settings = self._settings
        still = sample.suffix.endswith(STILL_SUFFIXES)
        count = 1 if still else settings.clip_frames
        frames = decode_still(sample) if still else decode_clip(sample)
        if len(frames) < count:
            raise SampleError(f"{sample.name}: {len(frames)} frames are fewer than {count}")
        if not settings.augmented:
            return centre(pick_window(frames, count, None), settings.image_size)
        # Seeded by what the sample is rather than by who reads it: the same under every topology.
        rng = np.random.default_rng([settings.seed, epoch, zlib.crc32(sample.key.encode())])
        return augment(
            pick_window(frames, count, rng),
            shape=settings.image_size,
            scales=settings.crop_scale,
            flip=settings.flip,
            rng=rng,
        )


def _stack(batch: Sequence[_NamedFrames]) -> _Arrays:
    return torch.from_numpy(np.stack([frames for _, frames in batch])), tuple(name for name, _ in batch)
