"""The batches that the data passes to the loop, and sources of batches that can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One micro-batch of one process. All its clips have as many frames: stills and videos do not mix."""

    video: torch.Tensor
    """uint8 (b t h w c), in [0, 255], RGB."""
    keys: tuple[str, ...]
    """The shard and the sample that each clip came from, for messages."""
    notes: tuple[str, ...] = ()
    """What the person who trains should know about the data. Each note comes once from each reader."""

    def __post_init__(self) -> None:
        if self.video.dtype != torch.uint8 or self.video.ndim != 5:
            shape = tuple(self.video.shape)
            raise ValueError(f"a batch is uint8 (b t h w c), not {self.video.dtype} {shape}")
        if len(self.keys) != len(self.video):
            raise ValueError(f"{len(self.keys)} keys for {len(self.video)} clips")


class BatchSource(Protocol):
    """An endless stream of one process's batches, epoch after epoch, that can be continued where it stopped.

    Take n batches, and give `state_dict()` to `load_state_dict()` of a fresh source of the same data and
    topology. The fresh source then yields batch n + 1 first, bit for bit. Batches that workers have read
    ahead do not count as taken.
    """

    @property
    def epoch(self) -> int:
        """Epochs that this process has finished."""
        ...

    @property
    def bad_samples(self) -> dict[str, int]:
        """Samples that this process has skipped so far, by cause."""
        ...

    @property
    def waiting_for(self) -> str:
        """What is being read for the next batch, such as the URL of a shard. May be asked on any thread."""
        ...

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches from the current position, without end."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return the position, as plain values that JSON can hold."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a position that `state_dict` returned. Call this before iterating."""
        ...

    def start_after(self, states: Sequence[dict[str, Any]]) -> None:
        """Go to the start of the epoch after positions in other data: those of all processes."""
        ...
