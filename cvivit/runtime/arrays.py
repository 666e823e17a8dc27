"""Arrays and tensors of users, as the runner takes them: of which type, and as a tensor that is only read."""

from __future__ import annotations

import re
from typing import Final, TypeVar

import numpy as np
import torch
from torch import Tensor

Clips = TypeVar("Clips", np.ndarray, Tensor)
"""Clips or tokens: a function that is given an array returns an array, and a tensor for a tensor."""

INTEGER: Final = re.compile(r"u?int\d+")
"""The types of tokens, as numpy and torch name them."""


def type_of(values: object, name: str) -> str:
    """Return the name of an array's or a tensor's type.

    Raises:
        TypeError: `values` are neither.
    """
    if not isinstance(values, np.ndarray | Tensor):
        raise TypeError(f"{name} are an array or a tensor, not {type(values).__name__}")
    return values.dtype.name if isinstance(values, np.ndarray) else str(values.dtype).removeprefix("torch.")


def as_tensor(values: np.ndarray | Tensor) -> Tensor:
    """Return `values` as a tensor that shares their memory where it can. It is for reading."""
    if isinstance(values, Tensor):
        return values
    values = np.ascontiguousarray(values)
    if not values.flags.writeable:  # torch warns that it could be written to, which nobody does here
        values = np.asarray(_Writable(values))
    return torch.from_numpy(values)


class _Writable:
    """Says of a read-only array that it may be written to: a map of a file would have to be copied else."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values  # the memory is its
        interface = values.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}
