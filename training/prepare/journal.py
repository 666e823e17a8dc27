"""What is done so far: a journal of sources, and their clips, waiting to be shuffled into shards.

::

    OUTPUT/.work/journal.jsonl      the settings, then a line for every source that is done, and, before the
                                    first shard, one for the inputs that shards are made of
    OUTPUT/.work/spool/ab/ab12....  the clips of one source, then its stills, end to end

A line is written after the file that it tells of, so that a run that was killed goes on where it was: a
source without a line, with a torn line or with another file than its line says is cut again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cvivit.files import replacing
from training.errors import OutputMismatchError
from training.prepare.inputs import Source
from training.prepare.settings import PrepareSettings

FORMAT = 1
UNREADABLE = "unreadable"
"""Reason for a file that the system does not let us read."""


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What tells whether a file is still the one that was cut."""

    path: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, source: Source) -> FileStamp:
        """FileStamp a file as it is now; one that is gone has no size."""
        try:
            status = os.stat(source.path)
        except OSError:
            return cls(path=source.path, size=-1, mtime_ns=-1)
        return cls(path=source.path, size=status.st_size, mtime_ns=status.st_mtime_ns)


@dataclass(frozen=True, kw_only=True)
class SourceOutcome:
    """What became of one source."""

    stamp: FileStamp
    digest: str = ""
    """Of the file's contents, in hex; empty where it could not be read."""
    seconds: float = 0.0
    """Of the video that was read."""
    repeats: float = 0.0
    """Share of the pictures, at the rate of clips, that are the one before once more."""
    clips: tuple[int, ...] = ()
    """Bytes of each clip."""
    stills: tuple[int, ...] = ()
    """Bytes of each still."""
    reason: str = ""
    """Why it was rejected, as an error's code, or cut only in part; empty where all went well."""
    message: str = ""

    @property
    def usable(self) -> bool:
        """Whether anything came of it."""
        return bool(self.clips or self.stills)

    @classmethod
    def read(cls, fields: dict[str, Any]) -> SourceOutcome:
        """Read what `asdict` made, by way of JSON."""
        sizes = {name: tuple(fields[name]) for name in ("clips", "stills")}
        return cls(**(fields | sizes | {"stamp": FileStamp(**fields["stamp"])}))


class WorkFolder:
    """The work folder of one output."""

    def __init__(self, output: Path) -> None:
        self.folder = output / ".work"
        self.packed = ""
        """Fingerprint of the inputs that shards were begun of; empty before any."""
        self._journal = self.folder / "journal.jsonl"

    def open(self, settings: PrepareSettings) -> dict[FileStamp, SourceOutcome]:
        """Start or go on, and return the records of sources that need not be cut again.

        What could not be read may be readable by now, and looks the same: permission is not in a stamp. It is
        tried again, unless shards were begun without it.

        Raises:
            OutputMismatchError: the folder has work of other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = list(self._lines())
        ours = settings.model_dump(mode="json")
        head = {"format": FORMAT, "settings": ours}
        if not lines:
            self._append(head, fresh=True)
        elif lines[0] != head:
            theirs = lines[0].get("settings", {})
            changed = sorted(name for name in ours if theirs.get(name) != ours[name])
            raise OutputMismatchError(
                f"{self.folder.parent} holds unfinished work of other settings "
                f"({', '.join(changed) or 'format'}): finish it with those, or choose another folder"
            )
        self.packed = next((line["packed"] for line in reversed(lines) if "packed" in line), "")
        records = (SourceOutcome.read(line) for line in lines[1:] if "packed" not in line)
        return {
            record.stamp: record
            for record in records
            if self._is_whole(record) and (self.packed or record.reason != UNREADABLE)
        }

    def add(self, record: SourceOutcome) -> None:
        """Note that a source is done."""
        self._append(asdict(record))

    def begin_packing(self, inputs: str) -> None:
        """Note of which inputs, by their fingerprint, there will be shards from now on."""
        if inputs != self.packed:
            self._append({"packed": inputs}, synced=True)
            self.packed = inputs

    def path(self, stamp: FileStamp) -> Path:
        """Return where the clips of a source are."""
        name = hashlib.blake2b(stamp.path.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        return self.folder / "spool" / name[:2] / name

    def remove(self) -> None:
        """Forget everything."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_whole(self, record: SourceOutcome) -> bool:
        if not record.usable:
            return True
        path = self.path(record.stamp)
        return path.is_file() and path.stat().st_size == sum(record.clips) + sum(record.stills)

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self._journal.is_file():
            return
        with open(self._journal, encoding="utf-8", newline="\n") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue  # torn when the run was killed: that source is cut again

    def _append(self, line: dict[str, Any], *, fresh: bool = False, synced: bool = False) -> None:
        with open(self._journal, "w" if fresh else "a", encoding="utf-8", newline="\n") as file:
            # A newline first ends a torn line, so that it does not take this one with it.
            file.write(("" if fresh else "\n") + json.dumps(line) + "\n")
            if synced:  # shards are: they must not outlive what they were made of
                file.flush()
                os.fsync(file.fileno())


def write_pieces(path: Path, pieces: Iterable[bytes]) -> list[int]:
    """Write `pieces` one after the other as they come, whole or not at all, and return their sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = []
    with replacing(path) as file:
        for piece in pieces:
            file.write(piece)
            sizes.append(len(piece))
    return sizes
