"""Keep track of finished work: a journal of the sources, and a file with the clips of each before packing.

::

    OUTPUT/.work/journal.jsonl      the settings, then a line for every source that is done, and before the
                                    first shard a line about the inputs of the shards
    OUTPUT/.work/spool/ab/ab12....  the clips of one source, its stills, its caption and metadata, end to end

The line of a source is written after its file. So a run that was killed continues where it stopped. A source
is cut again if it has no line, or a line that was cut short, or a file of another size than its line says.
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

from cvivit.errors import InputUnavailableError, MissingPackageError
from cvivit.files import replacing
from cvivit.inputs import Source, Stamp
from training.errors import OutputMismatchError
from training.prepare.settings import PrepareSettings

FORMAT = 2
UNREADABLE = "unreadable"
"""Reason for a file that the system does not allow to be read."""
TRIED_AGAIN = frozenset((UNREADABLE, InputUnavailableError.code, MissingPackageError.code))
"""Reasons that may pass, such as permissions, without a change of the file that its stamp shows."""


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """A file and what belongs to it, to notice if any of it has changed since the file was cut."""

    path: str
    """Path or URL."""
    name: str
    """Its name below what the user named."""
    size: int
    changed: str
    beside: str = ""
    """Digest of what a table says of it, and of the state of the files beside it."""

    @classmethod
    def of(cls, source: Source, stamp: Stamp) -> FileStamp:
        """Join a source and what it looked like."""
        return cls(
            path=source.location,
            name=source.name,
            size=stamp.size,
            changed=stamp.changed,
            beside=stamp.beside,
        )


@dataclass(frozen=True, kw_only=True)
class SourceOutcome:
    """The result of cutting one source."""

    stamp: FileStamp
    digest: str = ""
    """Digest of the file's contents, in hexadecimal; empty if it could not be read."""
    seconds: float = 0.0
    """Length of the video that was read."""
    repeats: float = 0.0
    """Share of the pictures, at the rate of the clips, that repeat the picture before."""
    clips: tuple[int, ...] = ()
    """Bytes of each clip."""
    stills: tuple[int, ...] = ()
    """Bytes of each still."""
    starts: tuple[float, ...] = ()
    """Seconds into the video at which each clip begins; empty for a still."""
    beside: tuple[int | None, int | None] = (None, None)
    """Bytes of its caption and of its metadata as JSON, where it has them."""
    told: str = ""
    """Digest of its caption and metadata; empty if it has neither."""
    reason: str = ""
    """Why it was rejected, or cut only in part: the code of an error. It is empty if all went well."""
    message: str = ""

    @property
    def usable(self) -> bool:
        """Whether it gave any clip or still."""
        return bool(self.clips or self.stills)

    @property
    def bytes(self) -> int:
        """Bytes of everything that was made of it."""
        return sum(self.clips) + sum(self.stills) + sum(size or 0 for size in self.beside)

    @classmethod
    def read(cls, fields: dict[str, Any]) -> SourceOutcome:
        """Read what `asdict` made, after it went through JSON."""
        sizes = {name: tuple(fields[name]) for name in ("clips", "stills", "starts", "beside")}
        return cls(**(fields | sizes | {"stamp": FileStamp(**fields["stamp"])}))


class WorkFolder:
    """The work folder of one output."""

    def __init__(self, output: Path) -> None:
        self.folder = output / ".work"
        self.packed = ""
        """Fingerprint of the inputs of which shards were begun; empty before the first shard."""
        self._journal = self.folder / "journal.jsonl"

    def open(self, settings: PrepareSettings) -> dict[FileStamp, SourceOutcome]:
        """Start or continue, and return what became of the sources that need not be cut again.

        Sources that could not be read are tried again, because permissions or a server may have changed,
        which the stamp does not show. If shards were begun without them, they are left out.

        Raises:
            OutputMismatchError: the folder has unfinished work of other settings.
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
            if self._is_whole(record) and (self.packed or record.reason not in TRIED_AGAIN)
        }

    def add(self, record: SourceOutcome) -> None:
        """Note that a source is done."""
        self._append(asdict(record))

    def begin_packing(self, inputs: str) -> None:
        """Note of which inputs shards are made from now on, by their fingerprint."""
        if inputs != self.packed:
            self._append({"packed": inputs}, synced=True)
            self.packed = inputs

    def path(self, stamp: FileStamp) -> Path:
        """Return the path of the file with the clips of a source."""
        name = hashlib.blake2b(stamp.path.encode(errors="surrogateescape"), digest_size=16).hexdigest()
        return self.folder / "spool" / name[:2] / name

    def remove(self) -> None:
        """Delete the work folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_whole(self, record: SourceOutcome) -> bool:
        if not record.usable:
            return True
        path = self.path(record.stamp)
        return path.is_file() and path.stat().st_size == record.bytes

    def _lines(self) -> Iterator[dict[str, Any]]:
        if not self._journal.is_file():
            return
        with open(self._journal, encoding="utf-8", newline="\n") as file:
            for line in file:
                try:
                    yield json.loads(line)
                except json.JSONDecodeError:
                    continue  # The line was cut short by a kill. Its source is cut again.

    def _append(self, line: dict[str, Any], *, fresh: bool = False, synced: bool = False) -> None:
        with open(self._journal, "w" if fresh else "a", encoding="utf-8", newline="\n") as file:
            # A newline comes first. It ends a line that was cut short, so that this line is not lost with it.
            file.write(("" if fresh else "\n") + json.dumps(line) + "\n")
            if (
                synced
            ):  # The shards that follow are synced, too: they must not outlive the record of their inputs.
                file.flush()
                os.fsync(file.fileno())


def write_pieces(path: Path, pieces: Iterable[bytes]) -> list[int]:
    """Write `pieces` one after the other as they come, to a whole file or none. Return their sizes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sizes = []
    with replacing(path) as file:
        for piece in pieces:
            file.write(piece)
            sizes.append(len(piece))
    return sizes
