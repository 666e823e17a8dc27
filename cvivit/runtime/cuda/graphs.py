"""CUDA graphs, which launch all kernels of a batch with one call, for the shapes that a runner serves.

Some 66 launches take the host longer than a small batch takes the device. A graph replays them with one call.
It reads and writes fixed memory, so that a batch is copied to it and its result is copied away, which takes
microseconds.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from cvivit.runtime.cuda.device import Device, Stream

Operation = Callable[[Tensor], Tensor]


class Graphs:
    """The graphs of one device.

    Args:
        device: where they run.
        stream: the one on which they are captured, and which runs everything that is computed.
    """

    def __init__(self, device: Device, stream: Stream) -> None:
        self._device, self._stream = device, stream
        self._captured: dict[tuple[str, tuple[int, ...]], tuple[Tensor, Tensor, Callable[[], None]]] = {}

    @torch.inference_mode()
    def capture(self, name: str, operation: Operation, example: Tensor) -> None:
        """Capture `operation` for inputs like `example`, a tensor on the device.

        The operation runs once before that: libraries choose kernels and allocate workspaces then.
        """
        key = name, tuple(example.shape)
        if key in self._captured:
            return
        fixed = self._stream.run(example.clone)
        self._stream.run(lambda: operation(fixed))
        self._device.wait()
        result, replay = self._device.capture(self._stream, lambda: operation(fixed))
        self._captured[key] = fixed, result, replay

    @torch.inference_mode()
    def run(self, name: str, operation: Operation, batch: Tensor) -> Tensor:
        """Compute `operation` of a batch on the device, by its graph if there is one.

        Call it on the stream. The result has memory of its own, because the graph may be replayed before the
        result has been copied to the host.
        """
        captured = self._captured.get((name, tuple(batch.shape)))
        if captured is None:
            return operation(batch)
        fixed, result, replay = captured
        fixed.copy_(batch)
        replay()
        return torch.clone(result)

    def drop(self, larger_than: int) -> None:
        """Forget the graphs of batches of more than `larger_than` clips, and free their memory."""
        self._captured = {key: graph for key, graph in self._captured.items() if key[1][0] <= larger_than}

    def __contains__(self, key: tuple[str, tuple[int, ...]]) -> bool:
        return key in self._captured
