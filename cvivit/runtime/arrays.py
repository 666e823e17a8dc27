"""Arrays and tensors that callers pass to a runner: their type, and the tensor that the runner reads."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor

Clips = TypeVar("Clips", np.ndarray, Tensor)
"""Clips or tokens: a function that is given an array returns an array, and a tensor for a tensor."""

INTEGER: Final = re.compile(r"u?int\d+")
"""The names of integer types, which are the same in numpy and torch."""


def type_of(values: object, name: str) -> str:
    """Return the name of an array's or a tensor's type.

    Raises:
        TypeError: `values` is neither an array nor a tensor.
    """
    if not isinstance(values, np.ndarray | Tensor):
        raise TypeError(f"{name} must be an array or a tensor, not {type(values).__name__}")
    return values.dtype.name if isinstance(values, np.ndarray) else str(values.dtype).removeprefix("torch.")


def as_tensor(values: np.ndarray | Tensor) -> Tensor:
    """Return `values` as a tensor, which shares their memory if it can. Never write to the tensor."""
    if isinstance(values, Tensor):
        return values
    values = np.ascontiguousarray(values)
    if not values.flags.writeable:  # `torch.from_numpy` warns of a read-only array
        values = np.asarray(_Writable(values))
    return torch.from_numpy(values)


class _Writable:
    """Wrap a read-only array so that `torch.from_numpy` accepts it without a copy or a warning.

    The array may be a mapped file of many gigabytes. Never write to the tensor.
    """

    def __init__(self, values: np.ndarray) -> None:
        self._values = values  # keeps the memory alive
        interface = values.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
