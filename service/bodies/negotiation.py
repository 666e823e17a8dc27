"""Chooses the media type of an answer from the client's `Accept` headers (RFC 9110, section 12.5.1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.errors import NotAcceptableError

MAX_RANGES = 64
"""Media ranges of one request that count. Later ones are ignored; ordinary clients send fewer."""


@dataclass(frozen=True, kw_only=True)
class MediaRange:
    """One element of an `Accept` header, such as `video/*;q=0.5`."""

    kind: str
    subkind: str
    quality: float

    def specificity(self, media_type: str) -> int:
        """Return how closely this range names `media_type`: 0 if not at all, 3 if exactly."""
        kind, subkind = media_type.split("/")
        if (self.kind, self.subkind) == (kind, subkind):
            return 3
        if (self.kind, self.subkind) == (kind, "*"):
            return 2
        return 1 if (self.kind, self.subkind) == ("*", "*") else 0


def parse_accept(header: str) -> list[MediaRange]:
    """Return the media ranges of `header` in order. Elements that are no media range are left out."""
    ranges = []
    for element in header.split(",")[:MAX_RANGES]:
        media_type, *parameters = (part.strip().lower() for part in element.split(";"))
        kind, slash, subkind = media_type.partition("/")
        quality = _quality(parameters)
        if slash and kind and subkind and "/" not in subkind and quality is not None:
            ranges.append(MediaRange(kind=kind, subkind=subkind, quality=quality))
    return ranges


def choose(lines: Sequence[str], offered: Sequence[str]) -> str:
    """Return the media type of `offered` that the client prefers.

    For each type, the range that names it most closely gives its quality. The type with the highest quality
    wins. Among equals the one that is named more closely wins: many clients add `*/*` to the type that they
    want. Among those, the first of `offered` wins.

    Args:
        lines: the values of all `Accept` headers, which together are one list (RFC 9110, section 5.3). No
            header, or only empty ones, means that the client takes anything.
        offered: what the route can give, the default first.

    Raises:
        NotAcceptableError: the client accepts none of `offered`.
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
        raise NotAcceptableError(
            f"the Accept header allows none of the types that this route gives: {', '.join(offered)}"
        )
    return best


def _quality(parameters: Sequence[str]) -> float | None:
    """Return the quality among the parameters of a range: 1 if there is none, None if it is malformed."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                quality = float(value)
            except ValueError:
                return None
            return quality if 0 <= quality <= 1 else None
    return 1.0
