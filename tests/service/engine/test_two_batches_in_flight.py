"""A device that takes a batch while it computes another one has two of them at once.

Whatever happens to either of them, every clip gets its own outcome.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from cvivit.errors import DeviceLostError, DeviceMemoryError
from service.engine import ClipFailedError, Engine, EngineDrainingError, EngineFailedError, EngineLimits
from service.engine.batches.assembly import assemble
from service.engine.batches.in_flight import InFlight
from service.engine.request import ClipBatch, EngineRequest, Operation, QueuedClip
from tests.service.engine.sessions import MakeClip, StartEngine, results, settle

pytestmark = pytest.mark.anyio

BAD = 13
SIZE = 4
"""Clips of a full batch."""


class Sent:
    """A batch that a device was sent. It is done once the test says so."""

    def __init__(self, clips: np.ndarray) -> None:
        self.clips = clips
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.collected = False

    def wait(self) -> np.ndarray:
        assert self.done.wait(60)
        self.collected = True
        if self.error is not None:
            raise self.error
        return self.clips.astype(np.int64) + 1


class Device:
    """A device that adds one to clips, and takes a batch while it computes another."""

    batch_sizes: tuple[int, ...] = (1, 2, SIZE)

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.alone: list[int] = []
        """Clips that were run again, one by one."""
        self.refused: dict[int, BaseException] = {}
        """Errors of submissions by their number."""

    def warm_up(self) -> None:
        pass

    def encode_clips(self, clips: np.ndarray, /) -> np.ndarray:
        self.alone.append(int(clips.flat[0]))
        if (clips == BAD).any():
            raise ValueError("bad")
        return clips.astype(np.int64) + 1

    def submit_encode(self, clips: np.ndarray, /) -> Callable[[], np.ndarray]:
        self.sent.append(Sent(clips))
        if (error := self.refused.get(len(self.sent) - 1)) is not None:
            raise error
        return self.sent[-1].wait

    decode_clips, submit_decode = encode_clips, submit_encode

    def finish(self) -> None:
        """Let every batch end."""
        for sent in self.sent:
            sent.done.set()


@pytest.fixture
def device(start_engine: StartEngine) -> Iterator[Device]:
    """A device whose batches end before the engine is stopped."""
    device = Device()
    yield device
    device.finish()


Tasks = list[asyncio.Task[Any]]


async def full_batches(engine: Engine, device: Device, numbers: list[int], clip: MakeClip) -> Tasks:
    """Send a request for each number. Together they fill the third and the fourth batch of the device."""
    for count in (1, 2):
        asyncio.ensure_future(engine.run("encode", clip(0)[None])).add_done_callback(
            lambda task: task.exception()
        )
        await settle(lambda count=count: len(device.sent) == count)  # type: ignore[misc]
    requests = [asyncio.create_task(engine.run("encode", clip(number)[None])) for number in numbers]
    await settle(lambda: engine.snapshot().queued[Operation.ENCODE] == len(numbers))
    device.finish()
    await settle(lambda: len(device.sent) == 4 or engine.failure is not None)
    assert {len(sent.clips) for sent in device.sent[2:]} == {SIZE}
    return requests


async def outcomes(requests: Tasks) -> list[Any]:
    found = await asyncio.gather(*requests, return_exceptions=True)
    return [type(each) if isinstance(each, BaseException) else int(each.flat[0]) for each in found]


async def test_the_second_batch_is_submitted_while_the_first_is_computed(
    start_engine: StartEngine, device: Device, clip: MakeClip
) -> None:
    engine = await start_engine(device)
    async with engine.open("encode") as session:
        session.feed([clip(number) for number in range(40)])
        await settle(lambda: len(device.sent) == 2 and device.sent[1].clips.shape[0] == SIZE)
        await settle(lambda: engine.snapshot().queued[Operation.ENCODE] >= SIZE)
        with engine._shared.lock:  # a third one waits until the first is done
            assert not engine._devices[0]._may_take
            assert engine._devices[0]._assembled is None
        assert not any(sent.collected for sent in device.sent)
        device.sent[0].done.set()
        first = [int((await anext(session)).flat[0]) for _ in device.sent[0].clips]  # the second runs
        await settle(lambda: len(device.sent) == 3)
        assert not device.sent[1].collected

        async def go_on() -> None:
            while True:
                device.finish()
                await asyncio.sleep(0)

        going = asyncio.create_task(go_on())
        rest = await results(session)
        going.cancel()
    assert first + rest == list(range(1, 41))
    assert not device.alone
    await settle(lambda: engine.snapshot().computing == 0)
    assert engine.snapshot().clips == 0


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("which", [0, 1])
async def test_a_bad_clip_in_either_batch_fails_alone(
    start_engine: StartEngine, device: Device, clip: MakeClip, which: int, refused: bool
) -> None:
    engine = await start_engine(device)
    numbers = list(range(1, 9))
    numbers[SIZE * which + 1] = BAD
    if refused:
        device.refused[2 + which] = ValueError("bad")
    requests = await full_batches(engine, device, numbers, clip)
    if not refused:
        device.sent[2 + which].error = ValueError("bad")
    device.finish()
    expected = [ClipFailedError if number == BAD else number + 1 for number in numbers]
    assert await outcomes(requests) == expected
    assert device.alone == numbers[SIZE * which : SIZE * (which + 1)]  # the other batch is not computed again
    assert engine.ready
    await settle(lambda: engine.snapshot().computing == 0)


@pytest.mark.parametrize("which", [0, 1])
async def test_too_little_memory_for_either_batch_fails_its_clips(
    start_engine: StartEngine, device: Device, clip: MakeClip, which: int
) -> None:
    engine = await start_engine(device)
    requests = await full_batches(engine, device, list(range(1, 9)), clip)
    device.sent[2 + which].error = DeviceMemoryError("out of device memory")
    device.batch_sizes = (1, 2)  # as a runner does when memory runs out
    device.finish()
    found = await outcomes(requests)
    assert found[SIZE * which : SIZE * (which + 1)] == [DeviceMemoryError] * SIZE
    assert found[SIZE * (1 - which) :][:SIZE] == [n + 1 for n in range(1, 9)][SIZE * (1 - which) :][:SIZE]
    assert engine.ready
    assert not device.alone
    assert engine._shared.batcher.largest_batch == 2


@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.parametrize("which", [0, 1])
async def test_a_device_lost_in_either_batch(
    start_engine: StartEngine, device: Device, clip: MakeClip, which: int, refused: bool
) -> None:
    engine = await start_engine(device)
    lost = DeviceLostError("gone")
    if refused:
        device.refused[2 + which] = lost
    requests = await full_batches(engine, device, list(range(1, 9)), clip)
    if not refused:
        device.sent[2 + which].error = lost
    device.finish()
    found = await outcomes(requests)
    assert found[:SIZE] == ([2, 3, 4, 5] if which else [EngineFailedError] * SIZE)
    assert found[SIZE:] == [EngineFailedError] * SIZE
    assert await engine.wait_failed() is lost
    assert engine.snapshot().clips == 0
    assert engine.snapshot().computing == 0
    assert not device.alone


async def test_a_client_that_leaves_while_both_are_computed(
    start_engine: StartEngine, device: Device, clip: MakeClip
) -> None:
    engine = await start_engine(device, limits=EngineLimits(clips=40, clips_per_request=30))
    requests = await full_batches(engine, device, list(range(1, 9)), clip)
    for request in requests[2:6]:
        request.cancel()
    await settle(lambda: engine.snapshot().clips == 4)
    device.finish()
    cancelled = [asyncio.CancelledError] * 4
    assert await outcomes(requests) == [2, 3, *cancelled, 8, 9]
    await settle(lambda: engine.snapshot().computing == 0)
    assert engine.snapshot().clips == 0


async def test_a_stop_waits_for_both(start_engine: StartEngine, device: Device, clip: MakeClip) -> None:
    engine = await start_engine(device)
    requests = await full_batches(engine, device, list(range(1, 9)), clip)
    stopping = asyncio.create_task(engine.stop())
    assert await outcomes(requests) == [EngineDrainingError] * 8
    for sent in device.sent[2:]:
        assert not stopping.done()
        assert any(thread.name == "engine-0-collect" for thread in threading.enumerate())
        sent.done.set()
    await stopping
    assert all(sent.collected for sent in device.sent)
    assert len(device.sent) == 4
    assert engine.snapshot().computing == 0


@pytest.mark.parametrize("finished", [0, 1])
async def test_a_hang_of_either_fails_the_engine(
    start_engine: StartEngine, device: Device, clip: MakeClip, finished: int
) -> None:
    engine = await start_engine(device, limits=EngineLimits(stall_seconds=0.05))
    requests = [asyncio.create_task(engine.run("encode", np.stack([clip(1)] * SIZE))) for _ in range(2)]
    async with asyncio.timeout(60):
        while len(device.sent) < 1 + finished and engine.failure is None:
            await asyncio.sleep(0.001)
    for sent in device.sent[:finished]:
        sent.done.set()
    assert isinstance(await engine.wait_failed(), DeviceLostError)
    assert EngineFailedError in await outcomes(requests)


def batch() -> ClipBatch:
    request = EngineRequest(Operation.ENCODE, listener=None, deadline=None)  # type: ignore[arg-type]
    return ClipBatch(Operation.ENCODE, [QueuedClip(request, 0, np.zeros(3), None, 0.0)])


def test_times_of_batches_in_flight() -> None:
    in_flight = InFlight(2)
    assert in_flight.free_at is None
    first = in_flight.add(assemble(batch()), 2.0, 10.0)
    assert not in_flight.full
    second = in_flight.add(assemble(batch()), 3.0, 11.0)
    assert in_flight.full
    assert in_flight.free_at == 15.0
    assert in_flight.done(12.5) is first
    assert in_flight.oldest is second
    assert second.started == 12.5  # its turn begins, and stalls are counted from here
    assert in_flight.free_at == 15.5
    in_flight.add(assemble(batch()), 0.0, 13.0)
    assert in_flight.free_at is None  # the duration of the last batch is unknown
    assert len(in_flight.clear()) == 2
    assert not in_flight
