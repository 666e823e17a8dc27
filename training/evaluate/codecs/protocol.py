"""What a tokenizer or a video codec has to offer, so that its rate and distortion can be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Coded:
    """Clips in coded form."""

    bits: Sequence[float]
    """The bits of each clip: all that a decoder needs besides what it knows before the first clip."""
    data: Any
    """What `decode` takes: tokens, bytes, anything."""
    codes: int | None = None
    """Size of the codebook, if `data` is an array of tokens (n ...) below it. The bench then also computes
    the bits that an adaptive arithmetic code would take (`cvivit.metrics.adaptive_code_bits`)."""


@runtime_checkable
class Codec(Protocol):
    """A tokenizer or a video codec at one setting.

    Codecs of the same name are points of one curve.
    """

    @property
    def name(self) -> str:
        """The name in tables and plots."""
        ...

    @property
    def setting(self) -> str:
        """What distinguishes it from others of its name, such as `crf 30`. It may be empty."""
        ...

    def encode(self, clips: np.ndarray) -> Coded:
        """Code uint8 RGB clips (n t h w c), each by itself."""
        ...

    def decode(self, coded: Coded) -> np.ndarray:
        """Return the uint8 RGB clips (n t h w c)."""
        ...


@dataclass(frozen=True, kw_only=True)
class CodecFamily:
    """Codecs of one name, from the best to the worst where their settings have an order."""

    name: str
    points: Sequence[Codec]
    encoder: str | None = None
    """The implementation, where a name such as AV1 has several."""
    fit: Callable[[np.ndarray, float], Codec] | None = None
    """Returns the best setting whose bits for one clip (1 t h w c) keep to a budget, or else the worst."""


def families(codecs: Sequence[Codec]) -> list[CodecFamily]:
    """Return codecs by their names, in the order in which the names come first."""
    named: dict[str, list[Codec]] = {}
    for codec in codecs:
        named.setdefault(codec.name, []).append(codec)
    return [CodecFamily(name=name, points=points) for name, points in named.items()]
