"""Files that untrusted clients might send, each with the answer that it must get.

Every file is made here, from its description. Those that point elsewhere point at a canary, a good video
that would be the answer if it were read, and at a server on the loopback device that counts connections.
"""

from __future__ import annotations

from pathlib import Path

from tests.hostile.answers import Hostile
from tests.hostile.broken import broken_files, lying_files
from tests.hostile.costly import costly_files
from tests.hostile.foreign import foreign_codecs, foreign_formats, foreign_texts, without_pictures
from tests.hostile.odd import odd_files, oddly_named


def corpus(canary: Path, url: str) -> list[Hostile]:
    """Return every hostile file."""
    return [
        *foreign_texts(canary, url),
        *foreign_formats(),
        *foreign_codecs(),
        *without_pictures(),
        *broken_files(),
        *costly_files(),
        *lying_files(canary),
        *odd_files(),
        *oddly_named(),
    ]
