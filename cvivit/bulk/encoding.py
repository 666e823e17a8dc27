"""Bulk encoding: the tokens of any number of sources, in their order.

Clips of all sources form batches. A thread of its own talks to the readers and to the device, so that neither
waits while the caller writes a file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Protocol

from cvivit.bulk.options import ReadOptions, reader_count
from cvivit.bulk.pool import Pool
from cvivit.bulk.results import Progress, Result
from cvivit.bulk.work import Work
from cvivit.inputs import Source

if TYPE_CHECKING:
    from cvivit.config import CViViTConfig
    from cvivit.runtime.runner import Runner


class Tokenizer(Protocol):
    """What bulk encoding needs of a `VideoTokenizer`."""

    @property
    def config(self) -> CViViTConfig:
        """The configuration of the network."""

    @property
    def runner(self) -> Runner:
        """The network on its device."""


def encode_sources(
    tokenizer: Tokenizer,
    sources: Iterable[Source],
    options: ReadOptions | None = None,
    *,
    readers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Generator[Result, None, None]:
    """Yield the tokens of each source, or why it has none, in the order of the sources.

    Sources are read in other processes. With precision "exact", the tokens are those of
    `VideoTokenizer.encode` for the source alone, bit for bit, whatever the number of readers. Memory is
    bounded for any number of sources of any length: pixels stream clip by clip, and tokens that wait are
    limited by `HELD_BYTES`.

    Closing the iterator ends the readers, and so does the end of this process, however it ends.

    Args:
        tokenizer: the network and its device.
        sources: what is encoded. It is iterated on another thread, as readers become free.
        options: what is read of each source; all of it by default.
        readers: how many processes read, by default one for each core (see `reader_count`).
        progress: called a few times a second on the calling thread, while it waits for the next result.

    Raises:
        ConfigError: (a ValueError) an option is out of range. It is raised at once, before anything starts.
        ReaderError: the readers cannot be started.
        DeviceError: the device failed.
    """
    options = options or ReadOptions()
    # What is wrong with the options is found here, and not when the first result is asked for.
    options.clip_format(tokenizer.config)
    reader_count(readers)

    def results() -> Generator[Result, None, None]:
        with ReadingAhead(tokenizer.config, sources, options, readers=readers) as reading:
            yield from reading.encode(tokenizer.runner, progress)

    return results()


class ReadingAhead:
    """Readers that run already, for a network that may still be loaded. It is used in a `with` block.

    Loading torch and weights takes seconds, in which other cores have nothing to do. So readers start first,
    and up to `AHEAD_BYTES` of clips are there when the network is. Leaving the block ends the readers.

    Args:
        config: the configuration of the network.
        sources: as for `encode_sources`, and so are the others.
        options: what is read of each source.
        readers: how many processes read.

    Raises:
        ConfigError: (a ValueError) an option is out of range.
    """

    def __init__(
        self,
        config: CViViTConfig,
        sources: Iterable[Source],
        options: ReadOptions | None = None,
        *,
        readers: int | None = None,
    ) -> None:
        options = options or ReadOptions()
        clip_format = options.clip_format(config)
        pool = Pool(iter(sources), clip_format, options, readers=reader_count(readers))
        step = clip_format.clip_frames - options.overlap
        self._work = Work(pool, step, total=len(sources) if isinstance(sources, Sized) else None)
        self._thread = threading.Thread(target=self._work.run, name="bulk-encoding", daemon=True)

    def __enter__(self) -> ReadingAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._work.stop()
        self._thread.join()

    def encode(self, runner: Runner, progress: Callable[[Progress], None] | None = None) -> Iterator[Result]:
        """Yield results as `encode_sources` does. It is called once.

        Args:
            runner: the network on its device.
            progress: as for `encode_sources`.

        Raises:
            ReaderError: the readers cannot be started.
            DeviceError: the device failed.
        """
        self._work.use(runner)
        return self._work.results(progress)
