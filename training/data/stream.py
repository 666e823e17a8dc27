"""The work of one worker: read, shuffle, decode and augment clips, and make batches with its position."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from cvivit.errors import CViViTError
from cvivit.shards.cache import ShardCache
from cvivit.shards.order import Reader
from cvivit.shards.reading import STILL_SUFFIXES, VIDEO_SUFFIXES, RawSample
from cvivit.shards.shuffle import ShuffledSamples
from training.data.augment import augment, centre, pick_window
from training.data.bad import BadSamples, SkippedSample
from training.data.decode import decode_clip, decode_still
from training.data.stills import is_stills
from training.data.workers import ReadingStatus
from training.errors import DataError, SampleError

RATE_TOLERANCE: Final = 0.02
"""Share by which the frame rate that a clip states may differ from the model's, since files round rates."""


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """The settings that batches depend on. They are the same for every worker of every rank."""

    clips: tuple[str, ...]
    stills: tuple[str, ...] = ()
    stills_ratio: float = 0.0
    batch_size: int
    clip_frames: int
    image_size: tuple[int, int]
    fps: float | None = None
    """The model's frame rate. A clip that states another one is an error; None compares nothing."""
    shuffle: int = 1
    seed: int = 0
    flip: float = 0.0
    crop_scale: tuple[float, float] = (1.0, 1.0)
    augmented: bool = True
    """Whether windows, crops and flips are random. If not, the first window and the centre are taken."""
    max_bad_samples: int = 0
    cache: ShardCache | None = None
    """Where shards behind URLs are kept, which changes no batch."""


@dataclass(frozen=True, kw_only=True)
class WorkerMessage:
    """A message of a worker: a batch with the position after it, the error that ended it, or its end."""

    worker: int
    video: torch.Tensor | None = None
    keys: tuple[str, ...] = ()
    state: dict[str, Any] = field(default_factory=dict)
    skipped: tuple[SkippedSample, ...] = ()
    """What the worker could not use since its message before."""
    notes: tuple[str, ...] = ()
    """What the person who trains should know, said once by each worker."""
    error: CViViTError | None = None


class ClipStream(IterableDataset[WorkerMessage]):
    """Yields the batches of one rank's workers, either without an end or for one epoch of each worker.

    torch copies this object to every worker process, where it finds out which worker it serves.

    Args:
        settings: what batches are made of.
        rank: this process among the `world_size` processes that train.
        workers: readers of this rank, at least 1.
        states: the position of each worker, from `WorkerMessage.state`, or None to start.
        first: the worker whose turn it is. Loaders ask workers in turn, beginning with their own first.
        once: whether to end after the epoch, with a last batch that may be smaller.
        status: the place where workers note what they read.
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
        status: ReadingStatus | None = None,
    ) -> None:
        self._settings = settings
        self._rank = rank
        self._world_size = world_size
        self._workers = workers
        self._states = states or [None] * workers
        self._first = first
        self._once = once
        self._status = status

    def __iter__(self) -> Iterator[WorkerMessage]:
        """Yield the messages of the worker in which this runs."""
        info = get_worker_info()
        # torch always asks its worker 0 first. After a resume another worker's turn may be the next, so the
        # position of worker `first` is given to torch's worker 0, and so on around.
        worker = (self._first + (info.id if info else 0)) % self._workers
        reader = Reader(index=self._rank * self._workers + worker, count=self._world_size * self._workers)
        maker = _BatchMaker(self._settings, reader, self._states[worker], self._report_of(worker))
        try:
            batches = maker.epoch() if self._once else maker.forever(worker, self._workers)
            for video, keys in batches:
                yield WorkerMessage(
                    worker=worker,
                    video=video,
                    keys=keys,
                    state=maker.state_dict(),
                    skipped=maker.skipped(),
                    notes=maker.notes(),
                )
            yield WorkerMessage(worker=worker, skipped=maker.skipped())
        # An error that is raised in a worker process reaches the training process as text with a traceback.
        # Sent as a value, it keeps its type and its message.
        except CViViTError as error:
            yield WorkerMessage(worker=worker, error=error)

    def _report_of(self, worker: int) -> Any:
        status = self._status
        return (lambda _: None) if status is None else (lambda shard: status.write(worker, shard))


_NamedFrames = tuple[str, np.ndarray]
_Arrays = tuple[torch.Tensor, tuple[str, ...]]


class _BatchMaker:
    """The batches of one reader."""

    def __init__(
        self, settings: StreamSettings, reader: Reader, state: dict[str, Any] | None, report: Any
    ) -> None:
        state = state or {}
        self._settings = settings
        self._made: int = state.get("batches", 0)
        self._bad: Counter[str] = Counter(state.get("bad"))
        self._notes: list[str] = []
        self._noted_enlarging = False
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
                report=report,
                cache=settings.cache,
            )
            for name, shards, suffixes in (
                ("clips", settings.clips, VIDEO_SUFFIXES),
                ("stills", settings.stills, STILL_SUFFIXES),
            )
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the batches after this one depend on, as plain values."""
        return {
            "batches": self._made,
            "clips": self._clips.state_dict(),
            "stills": self._stills.state_dict(),
            "bad": dict(self._bad),
            "ceilings": {"clips": self._clips.bad.state_dict(), "stills": self._stills.bad.state_dict()},
        }

    def skipped(self) -> tuple[SkippedSample, ...]:
        return self._clips.bad.take() + self._stills.bad.take()

    def notes(self) -> tuple[str, ...]:
        notes, self._notes = tuple(self._notes), []
        return notes

    def forever(self, worker: int, workers: int) -> Iterator[_Arrays]:
        clips = self._usable(self._clips, iter(self._clips))
        stills = self._usable(self._stills, iter(self._stills))
        while True:
            # The number of this batch among those of its rank, which is the same on all ranks.
            number = worker + self._made * workers
            source = stills if is_stills(number, self._settings.stills_ratio) else clips
            batch = [next(source) for _ in range(self._settings.batch_size)]
            self._made += 1
            yield _stack(batch)

    def epoch(self) -> Iterator[_Arrays]:
        """Yield the batches of clips, then those of stills."""
        for source in (self._clips, self._stills):
            batch: list[_NamedFrames] = []
            for clip in self._usable(source, source.epoch()):
                batch.append(clip)
                if len(batch) == self._settings.batch_size:
                    yield _stack(batch)
                    batch = []
            if batch:
                yield _stack(batch)

    def _usable(
        self, source: ShuffledSamples[BadSamples], samples: Iterator[RawSample]
    ) -> Iterator[_NamedFrames]:
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
        if sample.suffix.endswith(STILL_SUFFIXES):
            count, frames = 1, decode_still(sample)
        else:
            clip = decode_clip(sample)
            self._check_rate(sample, clip.fps)
            count, frames = settings.clip_frames, clip.frames
        if len(frames) < count:
            raise SampleError(f"{sample.name}: {len(frames)} frames are fewer than {count}")
        self._note_enlarging(sample, frames)
        if not settings.augmented:
            return centre(pick_window(frames, count, None), settings.image_size)
        # The seed depends on the sample and not on the reader, so a sample is augmented alike whatever the
        # number of ranks and workers.
        rng = np.random.default_rng([settings.seed, epoch, zlib.crc32(sample.key.encode())])
        return augment(
            pick_window(frames, count, rng),
            shape=settings.image_size,
            scales=settings.crop_scale,
            flip=settings.flip,
            rng=rng,
        )

    def _check_rate(self, sample: RawSample, stated: float | None) -> None:
        """Refuse a clip of another rate than the model's, because then its whole shard has that rate."""
        wanted = self._settings.fps
        if wanted is None or stated is None or abs(stated - wanted) <= RATE_TOLERANCE * wanted:
            return
        raise DataError(
            f"{sample.name} has {stated:g} frames a second, but the model's fps is {wanted:g}: "
            f"set model.fps={stated:g}, or prepare the videos again with --fps {wanted:g}; "
            "data.check_fps=false trains on shards that state a wrong rate"
        )

    def _note_enlarging(self, sample: RawSample, frames: np.ndarray) -> None:
        height, width = frames.shape[1:3]
        rows, columns = self._settings.image_size
        if self._noted_enlarging or (height >= rows and width >= columns):
            return
        self._noted_enlarging = True
        self._notes.append(
            f"{sample.name} has {height}x{width} pixels and is enlarged to {rows}x{columns}: the model "
            "learns blurred pictures; prepare larger clips with --size, or set a smaller model.image_size"
        )


def _stack(batch: Sequence[_NamedFrames]) -> _Arrays:
    return torch.from_numpy(np.stack([frames for _, frames in batch])), tuple(name for name, _ in batch)
