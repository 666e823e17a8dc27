"""The batcher under load, with simulated devices and clients on a fake clock."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from service.engine import EngineLimits, Operation
from service.engine.batcher import Batcher
from service.engine.request import ClipBatch, ClipResult, EngineRequest


@dataclass
class Device:
    """A device that takes `fixed + per_clip * n` seconds, with one batch assembled ahead of it."""

    fixed: float
    per_clip: float
    size: int
    ahead: ClipBatch | None = None
    running: ClipBatch | None = None
    free_at: float | None = None


@dataclass
class Client:
    """A client that puts a video of so many clips, takes the results as they come, and then starts again."""

    simulation: Simulation
    clips: int
    think: float = 0.0
    latencies: list[float] = field(default_factory=list)
    request: EngineRequest | None = None
    started: float = 0.0
    unread: int = 0

    def start(self) -> None:
        self.started = self.simulation.now
        self.unread = self.clips
        self.request = self.simulation.batcher.open(Operation.ENCODE, self, self.started)
        self.on_room()

    def on_room(self) -> None:
        self.simulation.at(self.simulation.now, self.put)

    def put(self) -> None:
        request, batcher = self.request, self.simulation.batcher
        if request is None:
            return
        while request.put < self.clips and batcher.offer(request, None, None, self.simulation.now):
            pass
        if request.put == self.clips:
            batcher.finish(request)

    def read(self) -> None:
        assert self.request is not None
        self.simulation.batcher.read(self.request)
        self.unread -= 1
        if self.unread:
            self.put()
            return
        self.simulation.batcher.close(self.request)
        self.request = None
        self.latencies.append(self.simulation.now - self.started)
        self.simulation.at(self.simulation.now + self.think, self.start)

    def on_results(self, results: Sequence[ClipResult]) -> None:
        raise AssertionError("the simulation hands results over itself")


class Simulation:
    """Events in order of time. Between them, each simulated device behaves as a device of the engine."""

    def __init__(self, devices: Sequence[Device], limits: EngineLimits) -> None:
        self.now = 0.0
        self.devices = devices
        self.batcher = Batcher(limits, devices=len(devices))
        self.batcher.largest_batch = max(device.size for device in devices)
        self.batcher.assembly_times.add(32, 1e-3)
        self.batches: list[int] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._count), action))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, action = heapq.heappop(self._events)
            action()
            if not self._events or self._events[0][0] > self.now:
                for device in self.devices:
                    self._work(device)

    def _work(self, device: Device) -> None:
        if device.running is None:
            device.running, device.ahead = device.ahead, None
            if device.running is None:
                device.running = self.batcher.take(self.now, size=device.size)
            if device.running is not None:
                clips = len(device.running.clips)
                self.batches.append(clips)
                device.free_at = self.now + device.fixed + device.per_clip * clips
                self.at(device.free_at, lambda: self._done(device))
        if device.running is not None and device.ahead is None:
            device.ahead = self.batcher.take(self.now, size=device.size, free_at=device.free_at)
        if device.ahead is None:
            due = self.batcher.due(self.now, size=device.size, free_at=device.free_at)
            if due is not None and due > self.now:
                self.at(due, lambda: None)

    def _done(self, device: Device) -> None:
        batch, device.running, device.free_at = device.running, None, None
        assert batch is not None
        self.batcher.done(batch, device.fixed + device.per_clip * len(batch.clips))
        for clip in batch.clips:
            client = clip.request.listener
            assert isinstance(client, Client)
            client.read()


def simulate(
    *, devices: Sequence[Device], small: int, large: int, seconds: float, think: float = 0.0
) -> tuple[Simulation, list[float]]:
    """Run clients with videos of 1 and of 437 clips together. Return the latencies of the small ones."""
    simulation = Simulation(devices, EngineLimits())
    clients = [Client(simulation, clips=1, think=think) for _ in range(small)]
    for index, client in enumerate([*clients, *(Client(simulation, clips=437) for _ in range(large))]):
        simulation.at(index * 1e-3, client.start)
    simulation.run(seconds)
    return simulation, [latency for client in clients for latency in client.latencies]


def percentile(values: Sequence[float], share: float) -> float:
    return sorted(values)[math.ceil(share * len(values)) - 1]


def cpu() -> Device:
    """Runs one clip at a time, as a CPU does."""
    return Device(fixed=0.0, per_clip=0.3, size=1)


def gpu() -> Device:
    """Runs 32 clips in 9 ms and one in 2 ms, much as a large GPU does."""
    return Device(fixed=0.0018, per_clip=0.000225, size=32)


@pytest.mark.parametrize(("small", "think"), [(1, 0.0), (1, 0.5), (4, 0.0), (32, 0.1)])
def test_on_a_cpu_a_long_video_at_most_doubles_what_short_ones_wait(small: int, think: float) -> None:
    _, alone = simulate(devices=[cpu()], small=small, large=0, seconds=600, think=think)
    _, mixed = simulate(devices=[cpu()], small=small, large=1, seconds=600, think=think)
    assert percentile(mixed, 0.99) <= 2 * percentile(alone, 0.99) + 1e-6


def test_on_a_gpu_a_long_video_adds_at_most_two_batches() -> None:
    _, alone = simulate(devices=[gpu()], small=16, large=0, seconds=10, think=0.01)
    _, mixed = simulate(devices=[gpu()], small=16, large=1, seconds=10, think=0.01)
    assert percentile(mixed, 0.99) <= percentile(alone, 0.99) + 2 * 0.009


def test_long_videos_get_equal_shares_and_short_ones_their_turn() -> None:
    simulation, small = simulate(devices=[cpu()], small=1, large=10, seconds=600)
    assert percentile(small, 0.99) <= 12 * 0.3 + 1e-6
    shares = [request.put for request in simulation.batcher.requests if request.put > 1]
    assert max(shares) - min(shares) <= 1 + 64


def test_a_lone_client_waits_only_for_its_batch() -> None:
    _, latencies = simulate(devices=[gpu()], small=1, large=0, seconds=2, think=0.005)
    assert max(latencies) == pytest.approx(0.0018 + 0.000225)


def test_full_load_fills_the_batches() -> None:
    simulation, small = simulate(devices=[gpu()], small=256, large=0, seconds=2)
    late = simulation.batches[len(simulation.batches) // 2 :]
    assert sum(late) / len(late) > 30
    assert len(small) > 0.9 * 2 * 32 / 0.009


def test_two_devices_do_twice_the_work() -> None:
    _, one = simulate(devices=[cpu()], small=16, large=1, seconds=300)
    _, two = simulate(devices=[cpu(), cpu()], small=16, large=1, seconds=300)
    assert len(two) == pytest.approx(2 * len(one), rel=0.05)


def test_thousands_of_tiny_requests_are_all_answered_in_turn() -> None:
    simulation = Simulation([gpu()], EngineLimits(clips=6000, clips_per_request=64))
    clients = [Client(simulation, clips=1, think=1e9) for _ in range(5000)]
    for client in clients:
        simulation.at(0.0, client.start)
    simulation.run(100.0)
    latencies = [client.latencies[0] for client in clients]
    assert latencies == sorted(latencies)
    assert latencies[-1] == pytest.approx(5000 / 32 * 0.009, rel=0.05)
    assert simulation.batcher.capacity.clips == 0
