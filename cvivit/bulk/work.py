"""The thread of bulk encoding: it takes clips from the readers, and gives full batches to the device."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np

from cvivit.bulk.pool import Clip, End, Event, Failure, Pool
from cvivit.bulk.results import EncodedSource, FailedSource, Progress, Result
from cvivit.inputs import Source

if TYPE_CHECKING:
    from cvivit.runtime.runner import Runner

HELD_BYTES: Final = 64 << 20
"""Tokens that may wait for the caller, or for an earlier source: 20,000 clips of the released model. While
more wait, no further source is begun, so that a long film does not let the results of all others pile up."""
HELD_SOURCES: Final = 20_000
"""Results that may wait in the same way."""
CLIPS_A_TURN: Final = 16
"""Clips that are read before they are computed, on a device that shares its cores with the readers."""
BATCHES_WAITING: Final = 2
"""Batches of clips that may wait for the device. While they do, no further clip is taken from the readers."""
BATCHES_IN_FLIGHT: Final = 2
"""Batches that are on their way on a device that takes one while it computes another."""
PATIENCE_SECONDS: Final = 1.0
"""How long the readers may be silent until the clips that are there are computed, few as they may be."""
AHEAD_BYTES: Final = 64 << 20
"""Pixels that are read before the network is there: 120 clips of the released model."""
_PROGRESS_SECONDS: Final = 0.2
"""How often the caller hears of progress."""


@dataclass
class _Parts:
    """The tokens of a source that has not ended, or whose result waits for those of earlier sources."""

    windows: dict[int, np.ndarray] = field(default_factory=dict)
    given: int = 0
    """Clips that were read."""
    frames: int = 0
    ended: bool = False
    failure: Failure | None = None

    @property
    def complete(self) -> bool:
        """Whether its result is known."""
        return self.failure is not None or (self.ended and len(self.windows) == self.given)


Submit: TypeAlias = Callable[[np.ndarray], Callable[[], np.ndarray]]
"""`SubmittingRunner.submit_encode`."""
_Key = tuple[_Parts, int]
"""The source of a clip, and which of its clips it is."""


class Work:
    """What the thread does, and what it shares with the caller.

    It begins without a network, and reads ahead until `use` brings one.
    """

    def __init__(self, pool: Pool, step: int, total: int | None) -> None:
        self._pool = pool
        self._runner: Runner | None = None
        self._step = step
        self._parts: dict[int, _Parts] = {}
        self._next = 0
        self._clips: deque[tuple[_Key, np.ndarray]] = deque()
        self._flight: deque[tuple[list[_Key], Callable[[], np.ndarray]]] = deque()
        self._unordered_bytes = 0
        # Shared with the caller:
        self._changed = threading.Condition()
        self._results: deque[Result] = deque()
        self._held_bytes = 0
        self._over = False
        self._error: BaseException | None = None
        self._stopped = False
        self._total = total
        self._done = self._failed = self._encoded = 0
        self._began = time.monotonic()
        self._computing = 0.0

    # On the caller's thread

    def use(self, runner: Runner) -> None:
        """Let the thread encode with this network from now on."""
        self._began = time.monotonic()
        with self._changed:
            self._runner = runner
            self._changed.notify_all()
        self._pool.wake()

    def results(self, progress: Callable[[Progress], None] | None) -> Iterator[Result]:
        """Yield results as they come."""
        due = time.monotonic()
        while True:
            with self._changed:
                if not self._results and not self._over:
                    self._changed.wait(_PROGRESS_SECONDS)
                result = self._results.popleft() if self._results else None
                if result is None and self._over:
                    break
                if result is not None:
                    self._held_bytes -= _bytes_of(result)
                    self._done += 1
                    self._failed += isinstance(result, FailedSource)
            if progress is not None and (now := time.monotonic()) >= due:
                progress(self._progress())
                due = now + _PROGRESS_SECONDS
            if result is not None:
                self._pool.wake()
                yield result
        if self._error is not None:
            raise self._error
        if progress is not None:
            progress(self._progress())

    def stop(self) -> None:
        """Let the thread end after its present batch."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._pool.wake()

    def _progress(self) -> Progress:
        return Progress(
            done=self._done,
            failed=self._failed,
            total=self._total,
            clips=self._encoded,
            seconds=time.monotonic() - self._began,
            computing_seconds=self._computing,
        )

    # On the thread

    def run(self) -> None:
        """Encode everything. An error is kept for the caller."""
        error: BaseException | None = None
        try:
            while not self._stopped and self._runner is None:
                self._read_ahead()
            submit: Submit | None = getattr(self._runner, "submit_encode", None)
            if submit is not None:
                self._pool.let_readers_run_ahead()
            while self._runner is not None and not self._stopped and self._advance(self._runner, submit):
                pass
        except BaseException as raised:
            error = raised
        finally:
            self._pool.close()
            with self._changed:
                self._error, self._over = error, True
                self._changed.notify_all()

    def _read_ahead(self) -> None:
        """Take clips while the network is being loaded, or wait for it where enough clips are there."""
        self._dispatch()
        if sum(pixels.nbytes for _, pixels in self._clips) < AHEAD_BYTES:
            self._listen(PATIENCE_SECONDS)
            return
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._runner is not None)

    def _advance(self, runner: Runner, submit: Submit | None) -> bool:
        """Do what can be done now, or wait until there is something to do. Returns False at the end."""
        self._dispatch()
        largest = max(runner.batch_sizes)
        if submit is None:
            return self._take_turns(runner.encode_clips, largest)
        return self._work_at_once(submit, largest)

    def _dispatch(self) -> None:
        if not self._is_full():
            for failure in self._pool.dispatch():
                self._note(failure)

    def _take_turns(self, encode: Callable[[np.ndarray], np.ndarray], largest: int) -> bool:
        """Read some clips, and then compute them: on a CPU both need all cores.

        Each reader can finish the clip that it is at and must then wait, so it hardly disturbs the network.
        """
        last = self._nothing_comes()
        if last and self._pool.exhausted and not self._clips:
            return False
        if not self._clips or (len(self._clips) < max(largest, CLIPS_A_TURN) and not last):
            last = not self._listen(PATIENCE_SECONDS)
            if not last:
                return True
        while len(self._clips) >= (1 if last else largest) and not self._stopped:
            keys, clips = self._take(largest)
            self._keep(keys, self._timed(partial(encode, clips)))
        return True

    def _work_at_once(self, submit: Submit, largest: int) -> bool:
        """Read and compute at the same time, on a device of its own.

        A batch is full if enough clips are there. A device that has nothing to do does not wait for that.
        """
        nothing = not self._flight and not self._clips
        if nothing and self._pool.exhausted and self._pool.idle:
            return False
        heard = len(self._clips) < BATCHES_WAITING * largest and self._listen(
            PATIENCE_SECONDS if nothing else 0
        )
        while heard and len(self._clips) < BATCHES_WAITING * largest:
            heard = self._listen(0)
        enough = len(self._clips) >= largest or not self._flight or self._nothing_comes()
        if self._clips and enough:
            keys, clips = self._take(largest)
            self._flight.append((keys, submit(clips)))
            if len(self._flight) < BATCHES_IN_FLIGHT:
                return True
        if self._flight:
            keys, wait = self._flight.popleft()
            self._keep(keys, self._timed(wait))
        return True

    def _listen(self, seconds: float) -> bool:
        """Act on what the readers say within this time, and return whether they said anything."""
        events = list(self._pool.poll(seconds))
        for event in events:
            self._note(event)
        return bool(events)

    def _nothing_comes(self) -> bool:
        """Return whether no clip comes any more, or none before the caller has taken results."""
        return self._pool.idle and (self._pool.exhausted or self._is_full())

    def _take(self, most: int) -> tuple[list[_Key], np.ndarray]:
        """Take the clips of a batch, `n f h w c`, and say whose they are."""
        taken = [self._clips.popleft() for _ in range(min(most, len(self._clips)))]
        return [key for key, _ in taken], np.stack([clip for _, clip in taken])

    def _timed(self, compute: Callable[[], np.ndarray]) -> np.ndarray:
        began = time.monotonic()
        tokens = compute()
        self._computing += time.monotonic() - began
        return tokens

    def _note(self, event: Event) -> None:
        """Act on an event of the readers."""
        parts = self._parts.setdefault(event.number, _Parts())
        if isinstance(event, Clip):
            self._clips.append(((parts, parts.given), event.pixels))
            parts.given += 1
            parts.frames = event.frames
        elif isinstance(event, End):
            parts.ended = True
        else:
            parts.failure = event
            self._unordered_bytes -= sum(window.nbytes for window in parts.windows.values())
            parts.windows.clear()
            self._clips = deque(entry for entry in self._clips if entry[0][0] is not parts)
        self._release()

    def _keep(self, keys: list[_Key], tokens: np.ndarray) -> None:
        """Put the tokens of a batch where they belong."""
        self._encoded += len(keys)
        for (parts, window), grid in zip(keys, tokens, strict=True):
            if parts.failure is None:
                parts.windows[window] = grid.copy()  # a view would keep the whole batch
                self._unordered_bytes += grid.nbytes
        self._release()

    def _release(self) -> None:
        """Hand the results over that are next in order."""
        ready: list[Result] = []
        while (parts := self._parts.get(self._next)) is not None and parts.complete:
            del self._parts[self._next]
            result = self._result(self._pool.started.pop(self._next), parts)
            self._unordered_bytes -= _bytes_of(result)
            ready.append(result)
            self._next += 1
        if ready:
            with self._changed:
                self._results.extend(ready)
                self._held_bytes += sum(map(_bytes_of, ready))
                self._changed.notify_all()

    def _result(self, source: Source, parts: _Parts) -> Result:
        if parts.failure is not None:
            return FailedSource(source=source, code=parts.failure.code, message=parts.failure.message)
        return EncodedSource(
            source=source,
            indices=np.stack([parts.windows[window] for window in range(parts.given)]),
            frames=parts.frames,
            first_frames=tuple(range(0, parts.given * self._step, self._step)),
        )

    def _is_full(self) -> bool:
        """Return whether so much waits for the caller, or for an earlier source, that nothing is begun."""
        with self._changed:
            count, held = len(self._results) + len(self._parts), self._held_bytes + self._unordered_bytes
        return count >= HELD_SOURCES or held >= HELD_BYTES


def _bytes_of(result: Any) -> int:
    return result.indices.nbytes if isinstance(result, EncodedSource) else 0
