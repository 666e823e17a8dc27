"""Bulk encoding: the tokens of any number of sources, in their order.

Clips of all sources form batches. A thread of its own talks to the readers and to the device, so that neither
waits while the caller writes a file.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sized
from typing import TYPE_CHECKING, Final, Protocol

from cvivit.bulk.options import ReadOptions, reader_count
from cvivit.bulk.pool import Pool
from cvivit.bulk.results import Progress, Result
from cvivit.bulk.work import Work
from cvivit.inputs import Source

if TYPE_CHECKING:
    from cvivit.config import CViViTConfig
    from cvivit.runtime.runner import Runner

SLOTS: Final = 4
"""Clips that a reader may be ahead where the device has cores of its own."""


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
    clip_format = options.clip_format(tokenizer.config)
    count = reader_count(readers)

    def results() -> Generator[Result, None, None]:
        at_once = hasattr(tokenizer.runner, "submit_encode")
        slots = SLOTS if at_once else 1
        pool = Pool(iter(sources), clip_format, options, readers=count, slots=slots)
        step = clip_format.clip_frames - options.overlap
        work = Work(pool, tokenizer.runner, step, total=len(sources) if isinstance(sources, Sized) else None)
        thread = threading.Thread(target=work.run, name="bulk-encoding", daemon=True)
        thread.start()
        try:
            yield from work.results(progress)
        finally:
            work.stop()
            thread.join()

    return results()
