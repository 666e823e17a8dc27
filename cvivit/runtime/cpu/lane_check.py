"""Whether a lane computes what all cores together compute, to the bit.

With another number of threads, a matrix library may split a product in another way and add its terms in
another order. Which way it chooses depends on the shapes and the machine, and not on the numbers. So if all
bits of one clip agree, they agree for every clip of its shape.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from cvivit.runtime.cpu.lanes import Lanes

Compute = Callable[[], tuple[Tensor, ...]]
"""Computes one clip on the calling thread, and returns results whose bits show how they were added."""


def lanes_agree(lanes: Lanes, compute: Compute) -> bool:
    """Return whether every lane gets the same bits as the calling thread, which computes with all cores."""
    expected = compute()
    everyone = threading.Barrier(lanes.count)
    results: list[tuple[Tensor, ...]] = []

    def on_a_lane(_: int) -> None:
        everyone.wait()  # so that no lane takes two of the pieces while another takes none
        results.append(compute())

    lanes.map(on_a_lane, range(lanes.count))
    return all(
        _same_bits(one, other) for result in results for one, other in zip(expected, result, strict=True)
    )


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Compare bytes, because NaN is not equal to itself."""
    return torch.equal(one.flatten().view(torch.uint8), other.flatten().view(torch.uint8))
