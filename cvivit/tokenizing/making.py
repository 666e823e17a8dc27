"""Make the missing shards of a dataset in their order, from results that come in the order of the sources."""

from __future__ import annotations

from collections.abc import Callable, Container, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Protocol

from cvivit.bulk import FailedSource, Progress, ReadOptions, Result
from cvivit.inputs import Source
from cvivit.tokenizing.ceiling import FailureCeiling
from cvivit.tokenizing.plan import Plan
from cvivit.tokenizing.settings import TokenizeSettings
from cvivit.tokenizing.shards import ShardRecord, part_of, settled_places, write_shard

ShowProgress = Callable[[Progress, int, int], None]
"""Called with the progress of this run, the inputs that are done (before it, too), and all inputs."""


class MakeShards(Protocol):
    """What makes the missing shards."""

    def __call__(
        self, plan: Plan, missing: Sequence[int], ceiling: FailureCeiling, *, progress: ShowProgress | None
    ) -> Iterator[ShardRecord]:
        """Yield the record of each missing shard when it is whole, in any order.

        Raises:
            TooManyFailedError: the ceiling says so.
        """


class Encode(Protocol):
    """What makes the tokens: this process with others that read (`encode_sources`), or a cluster."""

    def __call__(
        self,
        sources: ToEncode,
        options: ReadOptions,
        /,
        *,
        progress: Callable[[Progress], None],
    ) -> Generator[Result, None, None]:
        """Yield the result of each source, in the order of the sources. Closing it ends the work."""


class MakeInOrder:
    """Makes shards one after another in this process.

    Args:
        encode: what makes the tokens.
    """

    def __init__(self, encode: Encode) -> None:
        self._encode = encode

    def __call__(
        self, plan: Plan, missing: Sequence[int], ceiling: FailureCeiling, *, progress: ShowProgress | None
    ) -> Iterator[ShardRecord]:
        """Yield the record of each missing shard, in their order."""
        failed: dict[int, int] = {}
        settled: dict[int, Container[int]] = {}
        for number in missing:
            task = plan.task(number)
            if places := settled_places(task):
                settled[number] = places
                failed[number] = part_of(task).failed
                ceiling.add(failed[number])
        todo = ToEncode(plan, missing, settled)
        before = len(plan.sources) - len(todo)

        def show(now: Progress) -> None:
            if progress is not None:
                progress(now, before + now.done, len(plan.sources))

        results = self._encode(todo, read_options(plan.settings), progress=show)
        with closing(results):  # ends the processes that read
            for number in missing:
                watched = _Watched(results, ceiling)
                record = write_shard(plan.task(number), watched)
                # Captions that cannot be used are found out after the results.
                known = watched.failed + failed.get(number, 0)
                ceiling.add(record.failed - known)
                yield record


def read_options(settings: TokenizeSettings) -> ReadOptions:
    """Return how sources are read."""
    return ReadOptions(
        fit=settings.fit, start=settings.start, seconds=settings.seconds, overlap=settings.overlap
    )


class ToEncode:
    """The sources of all missing shards that have no outcome yet, whose number is known without a list."""

    def __init__(self, plan: Plan, missing: Sequence[int], settled: Mapping[int, Container[int]]) -> None:
        self._plan, self._missing, self._settled = plan, missing, settled

    def __len__(self) -> int:
        return sum(len(self._of(number)) for number in self._missing)

    def __iter__(self) -> Iterator[Source]:
        for number in self._missing:
            yield from self._of(number)

    def _of(self, number: int) -> list[Source]:
        return self._plan.to_encode(number, self._settled.get(number, ()))


class _Watched:
    """Results on their way to a shard, of which the failed ones are counted."""

    def __init__(self, results: Iterator[Result], ceiling: FailureCeiling) -> None:
        self._results = results
        self._ceiling = ceiling
        self.failed = 0

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        result = next(self._results)
        if isinstance(result, FailedSource):
            self.failed += 1
            self._ceiling.add(1, f"{result.source.location}: {result.message}")
        return result
