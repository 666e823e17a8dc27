"""Which of a route's media types a client prefers, from its `Accept` headers (RFC 9110, 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import NotAcceptableError

MAX_RANGES = 64
"""Media ranges of a request that are looked at; no honest client sends more."""


@dataclass(frozen=True, kw_only=True)
class MediaRange:
    """One element of an `Accept` header, such as `video/*;q=0.5`."""

    kind: str
    subkind: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """Return 0 where this range does not cover `media_type`, and more the more closely it does."""
        kind, subkind = media_type.split("/")
        if (self.kind, self.subkind) == (kind, subkind):
            return 3
        if (self.kind, self.subkind) == (kind, "*"):
            return 2
        return 1 if (self.kind, self.subkind) == ("*", "*") else 0


def parse_accept(header: str) -> list[MediaRange]:
    """Return the media ranges of `header`, in its order. What is not a media range is left out."""
    ranges = []
    for element in header.split(",")[:MAX_RANGES]:
        media_type, *parameters = (part.strip().lower() for part in element.split(";"))
        kind, slash, subkind = media_type.partition("/")
        quality = _quality(parameters)
        if slash and kind and subkind and "/" not in subkind and quality is not None:
            ranges.append(MediaRange(kind=kind, subkind=subkind, quality=quality))
    return ranges


def choose(lines: Sequence[str], offered: Sequence[str]) -> str:
    """Return the media type of `offered` that the client prefers; of equals, the one it names more closely.

    `lines` are the values of all its `Accept` headers, one list in several parts (RFC 9110, 5.3). None, or
    empty ones, accept the first. The most specific range that covers a type decides; ranges past the 64th
    do not count. Who names a type and adds `*/*`, as clients do by themselves, wants what it named.

    Raises:
        NotAcceptableError: none of `offered` is accepted.
    """
    header = ",".join(line for line in lines if line.strip())
    if not header:
        return offered[0]
    ranges = parse_accept(header)

    def preference(media_type: str) -> tuple[float, int]:
        covering = [(range_.specificity(media_type), range_.quality) for range_ in ranges]
        specificity, quality = max((found for found in covering if found[0]), default=(0, 0.0))
        return quality, specificity

    best = max(offered, key=preference)
    if preference(best)[0] == 0:
        raise NotAcceptableError(f"this route gives {', '.join(offered)}, and Accept allows none of them")
    return best


def _quality(parameters: Sequence[str]) -> float | None:
    """Return the weight among a range's parameters: 1 where there is none, None where it is not a weight."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
            return quality if 0 <= quality <= 1 else None
    return 1.0
