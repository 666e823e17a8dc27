"""The runner for CPUs."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from cvivit.network import CViViT
from cvivit.network.quantizer import indices_of
from cvivit.runtime.base import BaseRunner, Operation
from cvivit.runtime.cpu.lane_check import lanes_agree
from cvivit.runtime.cpu.lanes import Lanes
from cvivit.runtime.cpu.packed import pack, packing_is_available
from cvivit.runtime.memory import keep_freed_memory
from cvivit.runtime.precision import PrecisionChoice


class CPURunner(BaseRunner):
    """Runs clips through the network on the CPU.

    A batch runs one clip at a time, because the activations of one clip fit in the cache. If there are enough
    clips, each core computes one of its own (`cvivit.runtime.cpu.lanes`). With "exact" it does so only where
    that has been found to give the same bits (`cvivit.runtime.cpu.lane_check`). This is tried with the first
    clips of each shape that come together, and takes as long as two more clips.

    The runner also works in a forked child, where torch on its own would wait forever for threads that exist
    only in the parent.

    Args:
        model: the network. Its weights are copied.
        precision: "exact", "fast", or "auto", which is fast where the CPU has bfloat16.

    Raises:
        ValueError: there is no such precision.
        DeviceMemoryError: the weights do not fit in memory.
    """

    def __init__(self, model: CViViT, *, precision: PrecisionChoice = "auto") -> None:
        keep_freed_memory()
        super().__init__(model, device=torch.device("cpu"), precision=precision)
        self._lanes: Lanes | None = None
        if torch.get_num_threads() > 1:
            self._lanes = Lanes()
        self._agreed: dict[tuple[bool, torch.Size], bool] = {}
        """Whether the lanes agree with all cores, for each shape that was encoded or decoded in "exact"."""
        self.batch_sizes = (1, self._lanes.count) if self._lanes else (1,)
        self._was_forked = False
        self._child_lane: Lanes | None = None
        """In a forked child, the one thread that computes for every caller."""

    def _prepare(self, model: CViViT) -> CViViT:
        return pack(model, self._dtype) if packing_is_available() else super()._prepare(model)

    def after_fork(self) -> None:
        """Note, in a forked child, that the lanes and OpenMP's threads are not here."""
        super().after_fork()
        self._was_forked = True

    def _fill(self, operation: Operation, batch: Tensor, out: Tensor) -> None:
        if self._was_forked:
            self._start_threads_anew()
        fill = super()._fill
        if self._child_lane:
            self._child_lane.map(lambda _: fill(operation, batch, out), [None])
        else:
            fill(operation, batch, out)

    def _start_threads_anew(self) -> None:
        """Replace, in a forked child, the threads that only the parent has.

        OpenMP gives each thread that computes a team of helper threads. The thread that forked still
        believes in its team, which the child does not have, and would wait for it forever. A new thread gets
        a new team, so in the child a new thread computes for every caller.
        """
        self._lanes = Lanes() if self._lanes else None
        self._child_lane = Lanes(1)
        self._was_forked = False

    def _size_for(self, waiting: int) -> int:
        """Return the largest size that `waiting` clips fill: a lane without a clip would only wait."""
        if self._lanes:
            return max((size for size in self.batch_sizes if size <= waiting), default=self.batch_sizes[0])
        return next((size for size in self.batch_sizes if size >= waiting), self.batch_sizes[-1])

    def _compute(self, operation: Operation, piece: Tensor, size: int, out: Tensor) -> None:
        if not self._lanes or size == 1:
            _compute_here(operation, piece, size, out)
            return
        pairs = list(zip(piece.split(1), out.split(1), strict=True))
        if self._may_use_lanes(self._lanes, operation, piece):
            self._lanes.map(lambda pair: _compute_here(operation, pair[0], 1, pair[1]), pairs)
        else:
            for clip, result in pairs:
                _compute_here(operation, clip, 1, result)

    def _may_use_lanes(self, lanes: Lanes, operation: Operation, piece: Tensor) -> bool:
        """Return whether lanes may compute clips like these: in "exact" only if they give the same bits."""
        if self.precision == "fast":
            return True
        key = operation == self._decode, piece.shape[1:]
        if key not in self._agreed:
            self._agreed[key] = lanes_agree(lanes, partial(self._in_detail, operation, piece[:1].cpu()))
        return self._agreed[key]

    @torch.inference_mode()
    def _in_detail(self, operation: Operation, clip: Tensor) -> tuple[Tensor, ...]:
        """Return results that differ if anything was added in another order."""
        if operation == self._decode:
            return (self._network.decode(clip, check=False),)
        features = self._network.features(clip.permute(0, 4, 1, 2, 3).float() / 255)
        return features, indices_of(self._network.vq, features, self.config)


@torch.inference_mode()
def _compute_here(operation: Operation, piece: Tensor, size: int, out: Tensor) -> None:
    """Fill `out` with `operation` of `piece` on the calling thread, filled up to `size` clips."""
    clips = piece.cpu()
    if len(clips) < size:
        clips = torch.cat((clips, clips[-1:].expand(size - len(clips), *clips.shape[1:])))
    out.copy_(operation(clips)[: len(piece)])
