"""How many clips the engine holds, who may hold one more, and that no admitted request gets stuck."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine import EngineLimits, Operation, QueueFullError
from service.engine.batcher import Batcher
from service.engine.request import ClipBatch, ClipResult, EngineRequest


class Client:
    """A listener that counts what it is told."""

    rooms = 0

    def on_room(self) -> None:
        self.rooms += 1

    def on_results(self, results: Sequence[ClipResult]) -> None:
        raise AssertionError("the batcher sends no results")


def batcher_of(clips: int, clips_per_request: int) -> Batcher:
    return Batcher(EngineLimits(clips=clips, clips_per_request=clips_per_request))


def put(batcher: Batcher, request: EngineRequest, clips: int) -> int:
    """Put up to so many clips, and return for how many there was room."""
    taken = 0
    while taken < clips and batcher.offer(request, None, None, 0.0):
        taken += 1
    return taken


def compute(batcher: Batcher, size: int = 1) -> ClipBatch:
    batch = batcher.take(0.0, size=size)
    assert batch is not None
    batcher.done(batch, 1.0)
    return batch


def test_an_open_request_counts_for_a_clip_before_it_has_any() -> None:
    batcher = batcher_of(2, 2)
    batcher.open(Operation.ENCODE, Client(), 0.0)
    batcher.open(Operation.DECODE, Client(), 0.0)
    with pytest.raises(QueueFullError):
        batcher.open(Operation.ENCODE, Client(), 0.0)


def test_a_closed_request_makes_room() -> None:
    batcher = batcher_of(1, 1)
    request = batcher.open(Operation.ENCODE, Client(), 0.0)
    batcher.close(request)
    batcher.open(Operation.ENCODE, Client(), 0.0)


def test_one_request_holds_no_more_than_its_share() -> None:
    batcher = batcher_of(100, 10)
    request = batcher.open(Operation.ENCODE, Client(), 0.0)
    assert put(batcher, request, 50) == 10
    compute(batcher)
    assert put(batcher, request, 1) == 0  # computed, but not taken
    batcher.read(request)
    assert put(batcher, request, 2) == 1


def test_long_videos_leave_a_quarter_of_the_room_to_newcomers() -> None:
    batcher = batcher_of(100, 100)
    long = batcher.open(Operation.ENCODE, Client(), 0.0)
    assert put(batcher, long, 100) == 75
    newcomers = [batcher.open(Operation.ENCODE, Client(), 0.0) for _ in range(25)]
    assert all(put(batcher, newcomer, 1) == 1 for newcomer in newcomers)
    with pytest.raises(QueueFullError):
        batcher.open(Operation.ENCODE, Client(), 0.0)


def test_an_admitted_request_always_puts_its_next_clip() -> None:
    batcher = batcher_of(4, 4)
    requests = [batcher.open(Operation.ENCODE, Client(), 0.0) for _ in range(4)]
    for _ in range(10):
        for request in requests:
            assert put(batcher, request, 5) == 1
        for _ in requests:
            batcher.read(compute(batcher).clips[0].request)


def test_requests_that_were_refused_room_are_told_once_and_in_order() -> None:
    batcher = batcher_of(8, 6)
    holder = batcher.open(Operation.ENCODE, Client(), 0.0)
    clients = [Client(), Client()]
    first, second = (batcher.open(Operation.ENCODE, client, 0.0) for client in clients)
    assert put(batcher, holder, 6) == 4
    for request in (first, second):
        assert put(batcher, request, 2) == 1
    batcher.finish(holder)
    assert [client.rooms for client in clients] == [0, 0]
    batcher.close(holder)
    assert [client.rooms for client in clients] == [1, 1]
    assert put(batcher, first, 9) == 3
    assert put(batcher, second, 9) == 1


def test_a_grant_that_is_not_used_is_returned_on_closing() -> None:
    batcher = batcher_of(4, 4)
    holder = batcher.open(Operation.ENCODE, Client(), 0.0)
    waiting = batcher.open(Operation.ENCODE, Client(), 0.0)
    assert put(batcher, holder, 4) == 2
    assert put(batcher, waiting, 2) == 1
    batcher.close(holder)
    assert batcher.capacity.clips == 2
    batcher.close(waiting)
    assert batcher.capacity.clips == 0


def test_a_limit_of_one_clip_still_serves() -> None:
    batcher = batcher_of(1, 1)
    request = batcher.open(Operation.ENCODE, Client(), 0.0)
    for _ in range(3):
        assert put(batcher, request, 2) == 1
        compute(batcher)
        batcher.read(request)
    batcher.finish(request)
    assert batcher.capacity.clips == 0


def test_a_request_may_hold_no_more_than_all() -> None:
    with pytest.raises(ValueError, match="clips_per_request"):
        EngineLimits(clips=8, clips_per_request=9)


@given(
    limit=st.integers(1, 12),
    share=st.integers(1, 12),
    actions=st.lists(
        st.tuples(st.sampled_from(["open", "put", "run", "read", "end", "leave"]), st.integers(0, 7))
    ),
)
def test_the_counts_stay_right_whatever_clients_do(
    limit: int, share: int, actions: list[tuple[str, int]]
) -> None:
    batcher = batcher_of(limit, min(share, limit))
    unread: dict[EngineRequest, int] = {}
    now = 0.0

    def run() -> None:
        nonlocal now
        due = batcher.due(now, size=3)  # later, if it pays to wait for more clips
        now = now if due is None else max(now, due)
        if batch := batcher.take(now, size=3):
            batcher.done(batch, 1.0)
            for clip in batch.clips:
                unread[clip.request] += 1

    for action, pick in actions:
        requests = list(unread)
        request = requests[pick % len(requests)] if requests else None
        if action == "open":
            if batcher.capacity.full:
                with pytest.raises(QueueFullError):
                    batcher.open(Operation.ENCODE, Client(), 0.0)
            else:
                unread[batcher.open(Operation.ENCODE, Client(), 0.0)] = 0
        elif action == "run":
            run()
        elif request is None:
            continue
        elif action == "put" and not request.finished:
            assert put(batcher, request, 1) or request.held
        elif action == "read" and unread[request]:
            unread[request] -= 1
            batcher.read(request)
        elif action == "end":
            batcher.finish(request)
        elif action == "leave":
            batcher.close(request)
            del unread[request]
        assert batcher.capacity.clips == sum(request.counted for request in batcher.requests) <= limit
        assert all(request.held <= min(share, limit) for request in batcher.requests)

    while batcher.queued[Operation.ENCODE]:
        run()
    assert all(request.held == unread[request] for request in batcher.requests)
    for request in list(unread):
        batcher.close(request)
    assert batcher.capacity.clips == 0
