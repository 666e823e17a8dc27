"""The two stages that run as actors of Ray Data. A row is a clip, or the news that its source has failed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import ray

from cvivit.bulk import ReadOptions
from cvivit.bulk.messages import unpack
from cvivit.bulk.pool import Clip, Event, Failure, Pool
from cvivit.inputs import Source
from cvivit.video.settings import ClipFormat

if TYPE_CHECKING:
    from cvivit.runtime.precision import Precision
    from cvivit.weights import LoadedWeights

Rows = Mapping[str, Any]
"""Columns of rows: arrays of one length.

`number` int64: the place of the source in the list. `frames` int64: frames that were read of it so far.
`last` bool: whether no row of it follows. `failure` bytes: b"", or the JSON of a code and a message.
`seconds` float: what reading the row took. `pixels` uint8 `f h w c`, and later `indices` `T H W`, and
`encoding` float, the seconds that the device took.
"""
ROWS_AT_ONCE: Final = 16
"""Clips that a reading actor gathers before it hands them on."""
_PATIENCE_SECONDS: Final = 60.0


class ReadSources:
    """Reads sources in a process of its own, so that a file that crashes FFmpeg costs nothing but itself.

    Args:
        clip_format: the form of the clips.
        options: what is read of each source.
    """

    def __init__(self, clip_format: ClipFormat, options: ReadOptions) -> None:
        self._format = clip_format
        self._options = options
        self._pool: Pool | None = None

    def __call__(self, batch: Rows) -> Iterator[Rows]:
        """Yield the rows of the sources of a block, in their order."""
        waiting: list[dict[str, Any]] = []
        for number, message in zip(batch["number"], batch["source"], strict=True):
            source = Source(**unpack(message)["source"])
            for row in self._rows(source):
                waiting.append(row | {"number": number})
                if len(waiting) == ROWS_AT_ONCE:
                    yield _columns(waiting)
                    waiting.clear()
        if waiting:
            yield _columns(waiting)

    def close(self) -> None:
        """End the process that reads. It also ends with the actor."""
        if self._pool is not None:
            self._pool.close()

    def _rows(self, source: Source) -> Iterator[dict[str, Any]]:
        """Yield the rows of a source. Each waits until it is known whether it is the last."""
        held: dict[str, Any] | None = None
        began = time.perf_counter()
        for event in self._events(source):
            seconds = time.perf_counter() - began
            if isinstance(event, Clip):
                if held is not None:
                    yield held
                held = {
                    "pixels": event.pixels,
                    "frames": event.frames,
                    "last": False,
                    "failure": b"",
                    "seconds": seconds,
                }
            elif isinstance(event, Failure):
                shape = (self._format.clip_frames, *self._format.image_size, 3)
                held = {
                    "pixels": np.zeros(shape, np.uint8),
                    "frames": 0,
                    "last": True,
                    "failure": json.dumps([event.code, event.message]).encode(),
                    "seconds": seconds,
                }
            elif held is not None:
                held["last"] = True
            began = time.perf_counter()
        assert held is not None  # a source without a frame is a failure
        yield held

    def _events(self, source: Source) -> Iterator[Event]:
        """Yield what the process says of a source, up to its end."""
        if self._pool is None:
            self._pool = Pool(iter([source]), self._format, self._options, readers=1)
            self._pool.let_readers_run_ahead()
        else:
            self._pool.feed(source)
        while True:
            failures = self._pool.dispatch()
            for event in failures or self._pool.poll(_PATIENCE_SECONDS):
                yield event
                if not isinstance(event, Clip):
                    del self._pool.started[event.number]
                    return


class EncodeClips:
    """Encodes clips on one device.

    Args:
        weights: a reference, so that no machine needs the file, and each machine fetches them once.
        device: "cpu" or "cuda". Ray shows an actor its own GPU alone.
        precision: that of the dataset.
    """

    def __init__(self, weights: ray.ObjectRef[LoadedWeights], device: str, precision: Precision) -> None:
        from cvivit.tokenizer import VideoTokenizer

        self._tokenizer = VideoTokenizer(ray.get(weights), device=device, precision=precision)

    def __call__(self, batch: Rows) -> Rows:
        """Return the rows of a batch with tokens in place of pixels."""
        began = time.perf_counter()
        sound = np.array([not failure for failure in batch["failure"]])
        encoded = self._tokenizer.encode_clips(np.ascontiguousarray(batch["pixels"][sound]))
        indices = np.zeros((len(sound), *encoded.shape[1:]), encoded.dtype)
        indices[sound] = encoded
        kept = {name: batch[name] for name in ("number", "frames", "last", "failure", "seconds")}
        share = (time.perf_counter() - began) / len(sound)
        return kept | {"indices": indices, "encoding": np.full(len(sound), share)}


def _columns(rows: list[dict[str, Any]]) -> Rows:
    return {
        name: np.stack([row[name] for row in rows]) if name != "failure" else [row[name] for row in rows]
        for name in rows[0]
    }
