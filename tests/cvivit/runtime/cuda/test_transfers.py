"""Transfers of batches to a device and back, on a simulated device that does everything as late as it can."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

from cvivit.runtime.cuda.graphs import Graphs
from cvivit.runtime.cuda.transfers import DEPTH, Ticket, Transfers
from tests.cvivit.runtime.cuda.simulated_device import SimulatedDevice


def double(batch: Tensor) -> Tensor:
    return batch.to(torch.int32) * 2


def pipe(device: SimulatedDevice) -> Transfers:
    return Transfers(device, device.stream())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("graphs", [False, True])
def test_every_result_is_that_of_its_batch(seed: int, graphs: bool) -> None:
    device, chance = SimulatedDevice(seed), random.Random(seed)
    stream = device.stream()
    captured = Graphs(device, stream)
    if graphs:
        for size in (4, 2):
            captured.capture("double", double, torch.zeros(size, 3, dtype=torch.uint8))
    transfers = Transfers(device, stream)
    batches = [torch.full((chance.choice([2, 4, 5]), 3), number, dtype=torch.uint8) for number in range(12)]
    found = [torch.zeros(len(batch), 3, dtype=torch.int64) for batch in batches]
    waiting: list[tuple[Ticket, Tensor]] = []
    for batch, out in zip(batches, found, strict=True):
        if transfers.is_full:
            transfers.collect(*waiting.pop(0))
        handed = batch.clone()
        waiting.append((transfers.submit(handed, lambda x: captured.run("double", double, x)), out))
        handed.fill_(99)  # the caller may use the memory again
    for ticket, out in waiting:
        transfers.collect(ticket, out)
    for batch, out in zip(batches, found, strict=True):
        assert torch.equal(out, batch.long() * 2)


def test_the_next_batch_is_queued_before_the_host_waits_for_the_one_before() -> None:
    device = SimulatedDevice()
    transfers = pipe(device)
    out = torch.zeros(1, 2, dtype=torch.int32)
    tickets = [transfers.submit(torch.ones(1, 2, dtype=torch.uint8), double) for _ in range(DEPTH)]
    assert transfers.is_full
    assert "wait" not in device.trace
    for ticket in tickets:
        transfers.collect(ticket, out)
    assert device.trace == ["copy", "compute", "copy"] * DEPTH + ["wait"] * DEPTH


def test_only_the_results_that_are_asked_for_are_copied() -> None:
    device = SimulatedDevice()
    transfers, out = pipe(device), torch.zeros(2, 1, dtype=torch.int64)
    transfers.collect(transfers.submit(torch.tensor([[1], [2], [3]], dtype=torch.uint8), double), out)
    assert out.tolist() == [[2], [4]]


def test_a_batch_that_fails_leaves_its_slot_free_and_the_others_alone() -> None:
    device = SimulatedDevice()
    transfers, out = pipe(device), torch.zeros(1, 1, dtype=torch.int32)
    good = transfers.submit(torch.ones(1, 1, dtype=torch.uint8), double)

    def refuse(_: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    for _ in range(3):
        with pytest.raises(torch.OutOfMemoryError):
            transfers.submit(torch.ones(1, 1, dtype=torch.uint8), refuse)
    transfers.collect(good, out)
    assert out.item() == 2


def test_a_device_that_is_lost_on_the_way_frees_the_slot() -> None:
    device = SimulatedDevice()
    transfers, out = pipe(device), torch.zeros(1, 1, dtype=torch.int32)
    for _ in range(3):
        device.failure = None
        ticket = transfers.submit(torch.ones(1, 1, dtype=torch.uint8), double)
        device.failure = torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        with pytest.raises(torch.AcceleratorError):
            transfers.collect(ticket, out)
    assert not transfers.is_full


def test_a_graph_is_captured_once_and_can_be_dropped() -> None:
    device = SimulatedDevice()
    graphs = Graphs(device, device.stream())
    calls = []

    def count(batch: Tensor) -> Tensor:
        calls.append(len(batch))
        return double(batch)

    for size in (4, 2, 4):
        graphs.capture("double", count, torch.zeros(size, 3, dtype=torch.uint8))
    assert ("double", (4, 3)) in graphs
    captured = len(calls)
    graphs.run("double", lambda _: pytest.fail("it has a graph"), torch.zeros(4, 3, dtype=torch.uint8))
    assert len(calls) > captured
    graphs.drop(larger_than=2)
    assert ("double", (4, 3)) not in graphs
    assert ("double", (2, 3)) in graphs
