"""Good files with random changes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tests.videos import CONTAINERS, container_video


def mutations(count: int, seed: int = 0) -> Iterator[bytes]:
    """Yield good files with bytes changed, moved, doubled, dropped or cut."""
    rng = np.random.default_rng(seed)
    seeds = [container_video(name) for name in sorted(CONTAINERS)]
    for _ in range(count):
        data = bytearray(seeds[rng.integers(len(seeds))])
        for _ in range(rng.integers(1, 8)):
            # Changes to headers do most harm, so half of the changes fall into the first or last 1024 bytes.
            region = len(data) if rng.random() < 0.5 else min(len(data), 1024)
            at = int(rng.integers(region))
            at = len(data) - 1 - at if rng.random() < 0.3 else at
            length = int(rng.integers(1, 16))
            match rng.integers(6):
                case 0:
                    data[at : at + length] = rng.bytes(length)
                case 1:
                    data[at] ^= 1 << int(rng.integers(8))
                case 2:
                    data[at : at + 4] = rng.choice(
                        [b"\xff\xff\xff\xff", bytes(4), b"\x7f\xff\xff\xff", b"\0\0\0\1"]
                    )
                case 3:
                    del data[at : at + length]
                case 4:
                    data[at:at] = data[at : at + length * 16]
                case _:
                    del data[max(1, at) :]
            if not data:
                data = bytearray(b"\0")
        yield bytes(data)
