"""The batcher on a fake clock: turns, batches, waiting, and dropped clips."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from service.engine import EngineLimits, Operation, QueueFullError
from service.engine.batcher import Batcher
from service.engine.request import ClipBatch, ClipResult, EngineRequest

ENCODE, DECODE = Operation.ENCODE, Operation.DECODE


class Client:
    """A listener that counts what it is told."""

    rooms = 0

    def on_room(self) -> None:
        self.rooms += 1

    def on_results(self, results: Sequence[ClipResult]) -> None:
        raise AssertionError("the batcher sends no results")


def batcher_of(clips: int = 512, clips_per_request: int = 64, *, devices: int = 1) -> Batcher:
    return Batcher(EngineLimits(clips=clips, clips_per_request=clips_per_request), devices=devices)


def admit(
    batcher: Batcher,
    clips: int,
    *,
    operation: Operation = ENCODE,
    shape: str = "square",
    now: float = 0.0,
    deadline: float | None = None,
) -> EngineRequest:
    """Open a request and put its clips. There must be room for all of them."""
    request = batcher.open(operation, Client(), now, clips=clips, deadline=deadline)
    for index in range(clips):
        assert batcher.offer(request, f"clip {index}", shape, now)
    batcher.finish(request)
    return request


def measure(batcher: Batcher, *, fixed: float, per_clip: float, operation: Operation = ENCODE) -> None:
    """Let the batcher measure batches of a device with these speeds."""
    for clips in (1, 8, 2, 16, 4, 32):
        batcher.times[operation].add(clips, fixed + per_clip * clips)


def run_all(batcher: Batcher) -> None:
    """Run the clips that wait, however long they would have waited."""
    while batcher.queued[ENCODE]:
        assert batcher.take(1e9, size=64)


def owners(batch: ClipBatch | None) -> list[EngineRequest]:
    assert batch is not None
    return [clip.request for clip in batch.clips]


def test_an_idle_device_takes_a_lone_clip_at_once() -> None:
    batcher = batcher_of()
    request = admit(batcher, 1, now=5.0)
    assert batcher.due(5.0, size=32) == 5.0
    assert owners(batcher.take(5.0, size=32)) == [request]
    assert batcher.due(5.0, size=32) is None
    assert batcher.take(5.0, size=32) is None


def test_clips_that_wait_run_together_up_to_the_batch_size() -> None:
    batcher = batcher_of()
    requests = [admit(batcher, 1) for _ in range(10)]
    assert owners(batcher.take(0.0, size=8)) == requests[:8]
    assert owners(batcher.take(0.0, size=8)) == requests[8:]
    assert batcher.queued[ENCODE] == 0
    assert batcher.computing == 10


def test_a_requests_clips_run_in_the_order_they_were_put() -> None:
    batcher = batcher_of()
    admit(batcher, 5)
    batch = batcher.take(0.0, size=8)
    assert batch is not None
    assert [(clip.index, clip.payload) for clip in batch.clips] == [(i, f"clip {i}") for i in range(5)]


def test_requests_take_turns() -> None:
    batcher = batcher_of()
    long, short, shorter = admit(batcher, 10), admit(batcher, 2), admit(batcher, 1)
    assert owners(batcher.take(0.0, size=4)) == [long, short, shorter, long]
    late = admit(batcher, 1)
    assert owners(batcher.take(0.0, size=4)) == [late, short, long, long]


def test_newcomers_do_not_starve_requests_that_were_served_before() -> None:
    batcher = batcher_of()
    long = admit(batcher, 10)
    turns = []
    for _ in range(30):
        admit(batcher, 1)
        admit(batcher, 1)
        turns += owners(batcher.take(0.0, size=1))
    assert turns.count(long) >= 3


@pytest.mark.parametrize("size", [1, 8])
def test_a_long_video_delays_a_short_one_by_no_more_than_its_turn(size: int) -> None:
    batcher = batcher_of()
    long = admit(batcher, 64)
    batcher.take(0.0, size=size)
    short = admit(batcher, 1)
    assert short in owners(batcher.take(0.0, size=max(size, 2)))
    assert long.queued


def test_clips_of_other_shapes_wait_for_a_batch_of_their_own() -> None:
    batcher = batcher_of()
    square, wide, again = admit(batcher, 2), admit(batcher, 2, shape="wide"), admit(batcher, 1)
    assert owners(batcher.take(0.0, size=8)) == [square, again, square]
    assert owners(batcher.take(0.0, size=8)) == [wide, wide]


def test_a_shape_that_was_passed_over_is_next() -> None:
    batcher = batcher_of()
    admit(batcher, 60)
    wide = admit(batcher, 1, shape="wide")
    batcher.take(0.0, size=4)
    assert owners(batcher.take(0.0, size=4)) == [wide]


def test_operations_take_turns() -> None:
    batcher = batcher_of()
    admit(batcher, 3, operation=ENCODE)
    admit(batcher, 3, operation=DECODE)
    taken = [batcher.take(0.0, size=1) for _ in range(6)]
    assert [batch.operation for batch in taken if batch] == [ENCODE, DECODE] * 3


def test_clips_of_a_client_that_left_are_skipped_and_their_room_is_free() -> None:
    batcher = batcher_of(clips=8, clips_per_request=4)
    gone, stays = admit(batcher, 4), admit(batcher, 1)
    assert batcher.close(gone) == 4
    assert batcher.close(gone) == 0
    assert batcher.capacity.clips == 1
    assert owners(batcher.take(0.0, size=8)) == [stays]
    assert batcher.due(0.0, size=8) is None


def test_clips_whose_time_ran_out_are_skipped() -> None:
    batcher = batcher_of()
    late = admit(batcher, 3, deadline=1.0)
    other = admit(batcher, 1, deadline=9.0)
    assert owners(batcher.take(1.0, size=8)) == [other]
    assert not late.queued
    assert batcher.take(1.0, size=8) is None


def test_no_batch_is_formed_if_every_clip_is_past_its_deadline() -> None:
    batcher = batcher_of()
    admit(batcher, 3, deadline=1.0)
    assert batcher.take(2.0, size=8) is None
    assert batcher.queued[ENCODE] == 0
    assert batcher.due(2.0, size=8) is None


def test_a_batch_for_a_busy_device_is_formed_just_before_the_device_is_free() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.002, per_clip=0.001)
    batcher.assembly_times.add(8, 0.0008)
    early = admit(batcher, 1, now=10.0)
    due = batcher.due(10.0, size=8, free_at=10.5)
    assert due is not None
    assert due == pytest.approx(10.5 - 2 * 0.0008)
    assert batcher.take(10.0, size=8, free_at=10.5) is None
    late = admit(batcher, 1, now=10.4)
    assert owners(batcher.take(due, size=8, free_at=10.5)) == [early, late]


def test_a_batch_that_is_quick_to_assemble_waits_for_a_free_device() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.0, per_clip=0.3)
    batcher.assembly_times.add(1, 10e-6)
    long = admit(batcher, 5)
    for now in (10.0, 10.5, 11.0):
        assert batcher.due(now, size=1, free_at=10.5) is None
        assert batcher.take(now, size=1, free_at=10.5) is None
    assert owners(batcher.take(11.0, size=1)) == [long]


def test_a_device_that_takes_batches_while_it_computes_gets_a_full_one_at_once() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.002, per_clip=0.001)
    admit(batcher, 8, now=10.0)
    assert batcher.due(10.0, size=8, free_at=10.5, submits=True) == 10.0
    assert batcher.take(10.0, size=8, free_at=10.5) is None
    assert len(owners(batcher.take(10.0, size=8, free_at=10.5, submits=True))) == 8


def test_it_gets_other_batches_just_early_enough_to_go_on_without_a_pause() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.002, per_clip=0.3)
    batcher.assembly_times.add(8, 0.0008)
    batcher.submission_times.add(8, 0.003)
    early = admit(batcher, 1, now=10.0)
    due = batcher.due(10.0, size=8, free_at=10.5, submits=True)
    assert due is not None
    assert due == pytest.approx(10.5 - 2 * 0.0038)
    assert batcher.take(10.0, size=8, free_at=10.5, submits=True) is None
    late = admit(batcher, 1, now=10.4)
    assert owners(batcher.take(due, size=8, free_at=10.5, submits=True)) == [early, late]


def test_a_device_that_is_late_is_not_waited_for() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.002, per_clip=0.001)
    batcher.assembly_times.add(8, 0.0008)
    admit(batcher, 1, now=10.0)
    assert batcher.due(10.0, size=8, free_at=9.0) == 10.0


def test_a_free_device_waits_for_the_next_clip_if_clips_arrive_densely() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.020, per_clip=0.001)
    for tick in range(200):  # a clip every millisecond
        admit(batcher, 1, now=tick / 1000)
    run_all(batcher)
    waiting = admit(batcher, 1, now=0.2)
    due = batcher.due(0.2, size=32)
    assert due is not None
    assert 0.2 < due <= 0.2 + 0.020
    assert owners(batcher.take(due, size=32)) == [waiting]


def test_no_wait_outlasts_the_fixed_cost_of_a_batch() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.005, per_clip=0.001)
    for tick in range(400):
        admit(batcher, 1, now=tick / 1000)
    run_all(batcher)
    now = 0.4
    admit(batcher, 1, now=now)
    while batcher.take(now, size=64) is None:
        now += 0.001
        admit(batcher, 1, now=now)
    assert now <= 0.4 + 0.005 + 0.0011


def test_after_a_pause_a_lone_clip_does_not_wait() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.020, per_clip=0.001)
    for tick in range(200):
        admit(batcher, 1, now=tick / 1000)
    run_all(batcher)
    admit(batcher, 1, now=60.0)
    assert batcher.due(60.0, size=32) == 60.0


def test_no_clip_waits_if_batches_save_nothing() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.0, per_clip=0.3)
    for tick in range(100):
        admit(batcher, 1, now=tick / 1000)
    assert batcher.due(0.1, size=512) == 0.1


def test_a_full_queue_says_when_to_come_back() -> None:
    batcher = batcher_of(clips=100, clips_per_request=50)
    batcher.largest_batch = 4
    measure(batcher, fixed=0.0, per_clip=0.5)
    for _ in range(100):
        admit(batcher, 1)
    with pytest.raises(QueueFullError) as refusal:
        batcher.open(ENCODE, Client(), 0.0)
    assert refusal.value.retry_after_seconds == pytest.approx(50.0)
    assert refusal.value.code == "queue_full"


def test_more_devices_give_a_shorter_retry_time() -> None:
    batcher = batcher_of(clips=100, clips_per_request=50, devices=2)
    measure(batcher, fixed=0.0, per_clip=0.5)
    for _ in range(100):
        admit(batcher, 1)
    with pytest.raises(QueueFullError) as refusal:
        batcher.open(ENCODE, Client(), 0.0)
    assert refusal.value.retry_after_seconds == pytest.approx(25.0)


def test_a_full_queue_asks_to_wait_a_second_before_anything_was_measured() -> None:
    batcher = batcher_of(clips=2, clips_per_request=1)
    admit(batcher, 1)
    admit(batcher, 1)
    with pytest.raises(QueueFullError) as refusal:
        batcher.open(ENCODE, Client(), 0.0)
    assert refusal.value.retry_after_seconds == 1.0


def test_a_request_that_would_be_late_is_refused_at_once() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.0, per_clip=1.0)
    for _ in range(20):
        admit(batcher, 1)
    with pytest.raises(QueueFullError) as refusal:
        batcher.open(ENCODE, Client(), 0.0, clips=1, deadline=11.0)
    assert refusal.value.retry_after_seconds == pytest.approx(10.0)
    batcher.open(ENCODE, Client(), 0.0, clips=1, deadline=22.0)


def test_a_long_video_ahead_counts_for_one_turn() -> None:
    batcher = batcher_of()
    measure(batcher, fixed=0.0, per_clip=1.0)
    admit(batcher, 60)
    batcher.open(ENCODE, Client(), 0.0, clips=1, deadline=3.0)
    with pytest.raises(QueueFullError):
        batcher.open(ENCODE, Client(), 0.0, clips=30, deadline=40.0)
