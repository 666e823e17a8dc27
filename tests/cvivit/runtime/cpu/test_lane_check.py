"""In `exact`, lanes compute only where they give the bits that all cores together give."""

from __future__ import annotations

import threading

import numpy as np
import torch

from cvivit.network import CViViT
from cvivit.runtime.cpu.lane_check import lanes_agree
from cvivit.runtime.cpu.lanes import Lanes
from cvivit.runtime.cpu.runner import CPURunner


class Watched(CPURunner):
    """A runner that notes which threads compute, and whose lanes may add in another order than all cores."""

    def __init__(self, model: CViViT, error: float) -> None:
        super().__init__(model, precision="exact")
        self.error = error
        self.computed_by: list[str] = []

    def _encode(self, clips: torch.Tensor) -> torch.Tensor:
        self.computed_by.append(threading.current_thread().name)
        return super()._encode(clips)

    def _in_detail(self, operation: object, clip: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if operation == self._encode:
            self.computed_by.append(threading.current_thread().name)
        bits = super()._in_detail(operation, clip)  # type: ignore[arg-type]
        on_a_lane = threading.current_thread().name.startswith("lane-")
        return (bits[0] + self.error * on_a_lane, *bits[1:])


def test_clips_that_come_together_are_those_of_the_clips_alone(
    threads: int, tiny_model: CViViT, clips: np.ndarray
) -> None:
    runner = Watched(tiny_model, error=0.0)
    assert runner.batch_sizes == (1, threads)
    alone = np.concatenate([runner.encode_clips(clip[None]) for clip in clips])
    assert set(runner.computed_by) == {threading.current_thread().name}
    runner.computed_by.clear()
    assert np.array_equal(runner.encode_clips(clips), alone)
    assert sum(name.startswith("lane-") for name in runner.computed_by) == 2 * threads  # the first ones twice
    runner.computed_by.clear()
    assert np.array_equal(runner.encode_clips(clips), alone)
    assert sum(name.startswith("lane-") for name in runner.computed_by) == threads
    pictures = np.concatenate([runner.decode_clips(tokens[None]) for tokens in alone])
    assert np.array_equal(runner.decode_clips(alone), pictures)


def test_lanes_that_add_in_another_order_are_not_used(
    threads: int, tiny_model: CViViT, clips: np.ndarray
) -> None:
    runner = Watched(tiny_model, error=1e-7)
    alone = np.concatenate([runner.encode_clips(clip[None]) for clip in clips])
    assert np.array_equal(runner.encode_clips(clips), alone)
    runner.computed_by.clear()
    assert np.array_equal(runner.encode_clips(clips), alone)
    assert set(runner.computed_by) == {threading.current_thread().name}
    pictures = np.concatenate([runner.decode_clips(tokens[None]) for tokens in alone])
    assert np.array_equal(runner.decode_clips(alone), pictures)


def test_each_shape_is_tried(threads: int, tiny_model: CViViT, clips: np.ndarray) -> None:
    runner = Watched(tiny_model, error=0.0)
    runner.encode_clips(clips[:threads])
    runner.computed_by.clear()
    runner.encode_clips(clips[:threads, :3])
    assert len(runner.computed_by) == 1 + 2 * threads


def test_every_lane_is_asked(threads: int) -> None:
    lanes = Lanes()
    asked: list[str] = []

    def compute() -> tuple[torch.Tensor, ...]:
        asked.append(threading.current_thread().name)
        return (torch.tensor([float("nan"), 1.0]),)

    assert lanes_agree(lanes, compute)
    assert len(set(asked)) == len(asked) == lanes.count + 1

    def differing() -> tuple[torch.Tensor, ...]:
        return (torch.tensor(0.0 if threading.current_thread().name == asked[-1] else -0.0),)

    assert not lanes_agree(lanes, differing)
