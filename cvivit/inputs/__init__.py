"""What a user names (folders, globs, lists, tables, URLs), as sources with their captions and metadata.

It imports neither torch nor av, so that a million files are listed by a small process.
"""

from cvivit.inputs.finding import check_outputs, find_sources
from cvivit.inputs.kinds import STILL_SUFFIXES, VIDEO_SUFFIXES, SourceKind
from cvivit.inputs.opening import open_source, stamp_of, stamps_of
from cvivit.inputs.source import Source, Stamp

__all__ = [
    "STILL_SUFFIXES",
    "VIDEO_SUFFIXES",
    "Source",
    "SourceKind",
    "Stamp",
    "check_outputs",
    "find_sources",
    "open_source",
    "stamp_of",
    "stamps_of",
]
