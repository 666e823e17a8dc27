"""Encode sources by a pipeline of Ray Data, and give the results in the order of the sources."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, Dataset

from cvivit.bulk import EncodedSource, FailedSource, Progress, ReadOptions, Result
from cvivit.bulk.messages import pack_source
from cvivit.errors import ClusterError
from cvivit.inputs import Source
from cvivit.tokenizing.making import ToEncode
from cvivit.tokenizing.ray.cluster import Actors
from cvivit.tokenizing.ray.ratio import ReadingRatio
from cvivit.tokenizing.ray.stages import EncodeClips, ReadSources, Rows

if TYPE_CHECKING:
    from cvivit.runtime.precision import Precision
    from cvivit.weights import LoadedWeights

LARGEST_BLOCK: Final = 64
"""Sources that a reading actor is given at once, at most. If an actor dies, another reads them again."""
BLOCKS_A_READER: Final = 8
"""Blocks for each reading actor, at least, so that all end at about the same time."""
BLOCK_BYTES: Final = 64 << 20
"""Clips that travel together through Ray's object store."""
CLIPS_A_CALL: Final = {"cpu": 8, "cuda": 512}
"""Clips that an encoding actor is given at once. The network cuts them into batches."""
_PROGRESS_SECONDS: Final = 0.2


class EncodeOnRay:
    """Encodes sources by the actors of a cluster.

    Args:
        weights: those of the model.
        precision: that of the dataset.
        actors: how many, and where.
        say: takes the sentence on how many reading actors a device needs.
    """

    def __init__(
        self, weights: LoadedWeights, precision: Precision, actors: Actors, say: Callable[[str], None]
    ) -> None:
        self._weights = weights
        self._precision = precision
        self._actors = actors
        self._say = say

    def __call__(
        self,
        sources: ToEncode,
        options: ReadOptions,
        /,
        *,
        progress: Callable[[Progress], None],
    ) -> Generator[Result, None, None]:
        """Yield the result of each source, in the order of the sources.

        Raises:
            ClusterError: the cluster lost what cannot be made again.
        """
        todo = list(sources)
        if not todo:
            return
        clip_format = options.clip_format(self._weights.config)
        assembly = _Assembly(todo, clip_format.clip_frames - options.overlap, self._actors.devices)
        ratio = ReadingRatio(self._actors.readers, self._actors.devices, self._say)
        pipeline = self._pipeline(todo, options)
        due = 0.0
        try:
            for batch in pipeline.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=1):
                yield from assembly.add(batch)
                ratio.add(len(batch["number"]), float(batch["seconds"].sum()), float(batch["encoding"].sum()))
                if (now := time.monotonic()) >= due:
                    progress(assembly.progress())
                    due = now + _PROGRESS_SECONDS
        except ray.exceptions.RayError as error:
            raise ClusterError(f"the Ray cluster failed: {_reason(error)}") from error
        finally:  # the caller closes this generator when it has the last result
            ratio.conclude()
            progress(assembly.progress())

    def _pipeline(self, todo: list[Source], options: ReadOptions) -> Dataset:
        actors = self._actors
        size = max(1, min(LARGEST_BLOCK, len(todo) // (BLOCKS_A_READER * actors.readers)))
        blocks = [
            pa.table(
                {
                    "number": pa.array(range(first, min(first + size, len(todo)))),
                    "source": pa.array([pack_source(one) for one in todo[first : first + size]], pa.binary()),
                }
            )
            for first in range(0, len(todo), size)
        ]
        context = DataContext.get_current().copy()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = BLOCK_BYTES
        with DataContext.current(context):
            return (
                ray.data.from_arrow(blocks)
                .map_batches(
                    ReadSources,
                    batch_size=None,
                    batch_format="numpy",
                    compute=ActorPoolStrategy(min_size=1, max_size=actors.readers),
                    num_cpus=actors.reader_cpus,
                    fn_constructor_args=(options.clip_format(self._weights.config), options),
                )
                .map_batches(
                    EncodeClips,
                    batch_size=CLIPS_A_CALL[actors.device],
                    batch_format="numpy",
                    compute=ActorPoolStrategy(min_size=1, max_size=actors.devices),
                    fn_constructor_args=(ray.put(self._weights), actors.device, self._precision),
                    **actors.encoder_resources,
                )
            )


@dataclass
class _Assembly:
    """Joins the rows of each source, which come one after another, and counts."""

    sources: list[Source]
    step: int
    """Frames between the beginnings of two windows."""
    devices: int
    _windows: list[np.ndarray] = field(default_factory=list)
    _done: int = 0
    _failed: int = 0
    _clips: int = 0
    _computing: float = 0.0
    _began: float = field(default_factory=time.monotonic)

    def add(self, batch: Rows) -> Iterator[Result]:
        """Yield the results that a batch of rows completes."""
        self._computing += float(batch["encoding"].sum()) / self.devices
        for row, number in enumerate(batch["number"]):
            assert number == self._done, "rows come in the order of the sources"
            failure = batch["failure"][row]
            if not failure:
                self._clips += 1
                self._windows.append(batch["indices"][row])
            if not batch["last"][row]:
                continue
            source = self.sources[number]
            windows, self._windows = self._windows, []
            self._done += 1
            if failure:
                self._failed += 1
                code, message = json.loads(failure)
                yield FailedSource(source=source, code=code, message=message)
                continue
            yield EncodedSource(
                source=source,
                indices=np.stack(windows),
                frames=int(batch["frames"][row]),
                first_frames=tuple(range(0, len(windows) * self.step, self.step)),
            )

    def progress(self) -> Progress:
        """Return how far it is."""
        return Progress(
            done=self._done,
            failed=self._failed,
            total=len(self.sources),
            clips=self._clips,
            seconds=time.monotonic() - self._began,
            computing_seconds=self._computing,
        )


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).split("\n") if line.strip()]
    return lines[-1] if lines else type(error).__name__
