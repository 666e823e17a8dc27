"""What a file is by its suffix."""

from __future__ import annotations

from typing import Literal

from cvivit.inputs.locations import suffix_of

VIDEO_SUFFIXES = frozenset(
    (".3gp", ".avi", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm")
)
STILL_SUFFIXES = frozenset((".avif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".webp"))
"""An AVIF or a HEIC may move all the same."""
LIST_SUFFIXES = frozenset((".list", ".lst", ".txt"))
CSV_SUFFIXES = frozenset((".csv", ".tsv"))
PARQUET_SUFFIXES = frozenset((".parquet", ".pq"))
TABLE_SUFFIXES = CSV_SUFFIXES | PARQUET_SUFFIXES
CAPTION_SUFFIX = ".txt"
METADATA_SUFFIX = ".json"

SourceKind = Literal["video", "still", "unknown"]


def kind_of(location: str, *, named: bool) -> SourceKind:
    """Return what a file is. One that the user named is a video, unless its suffix is that of a still."""
    suffix = suffix_of(location).lower()
    if suffix in STILL_SUFFIXES:
        return "still"
    return "video" if named or suffix in VIDEO_SUFFIXES else "unknown"


def has_pictures(name: str) -> bool:
    """Return whether a file is a video or a still by its suffix."""
    suffix = suffix_of(name).lower()
    return suffix in VIDEO_SUFFIXES or suffix in STILL_SUFFIXES
