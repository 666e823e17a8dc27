"""What an output was made from, so that a repeated command skips what it has done, and replaces nothing else.

A token file says it in its metadata, under `made_from`. Other outputs cannot, so a hidden file beside them
lists what each was made from, and the digest of its bytes. The list is written before the output appears:
where a process is killed in between, there is no output, and it is made again. An output that was changed,
or that was copied there without the list, counts as somebody else's.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cvivit.errors import CViViTError, OutputMismatchError
from cvivit.inputs.source import Stamp

LIST_NAME = ".cvivit-outputs.jsonl"
"""The file that lists outputs which cannot say themselves what they were made from."""
METADATA_NAME = "made_from"

State: TypeAlias = Literal["absent", "same", "other", "unknown"]
"""There is no output, it is the one that would be made, it is another, or nothing says what it is."""


def made_from(stamp: Stamp, model: str, settings: dict[str, Any]) -> str:
    """Return a sha256 of a file's size and time of change, the fingerprint of the weights, and settings."""
    content = [stamp.size, stamp.changed, model, dict(sorted(settings.items()))]
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()


class Outputs:
    """What is known of the outputs in one folder. Several threads and processes may use it at once.

    Args:
        folder: the folder. Outputs may be in folders below it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._listed: dict[str, tuple[str, str]] | None = None

    def state(self, output: Path, key: str | None) -> State:
        """Return whether an output is there, and whether it was made from `key` (see `made_from`)."""
        if not output.exists():
            return "absent"
        if output.suffix.lower() == ".safetensors":
            found = _key_in(output)
        else:
            found, digest = self._list().get(self._name(output), (None, ""))
            found = found if found and digest == digest_of(output) else None
        if key is None or found is None:
            return "unknown"
        return "same" if found == key else "other"

    def note(self, output: Path, key: str | None, digest: str) -> None:
        """List an output that is about to appear.

        Raises:
            OSError: the list cannot be written.
        """
        if key is None:
            return
        name = self._name(output)
        line = json.dumps({"name": name, METADATA_NAME: key, "sha256": digest}) + "\n"
        with self._lock:
            # One call that appends a short line is not mixed with those of other processes.
            try:
                descriptor = os.open(
                    self._folder / LIST_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666
                )
                try:
                    os.write(descriptor, line.encode())
                finally:
                    os.close(descriptor)
            except OSError as error:  # it concerns the output, whose name the user knows
                raise OSError(error.errno, error.strerror, os.fspath(output)) from error

    def _name(self, output: Path) -> str:
        return os.path.relpath(output, self._folder)

    def _list(self) -> dict[str, tuple[str, str]]:
        with self._lock:
            if self._listed is None:
                self._listed = {}
                try:
                    lines = (self._folder / LIST_NAME).read_text(errors="replace").split("\n")
                except OSError:
                    lines = []
                for line in lines:
                    try:
                        entry = json.loads(line)
                        self._listed[entry["name"]] = (entry[METADATA_NAME], entry["sha256"])
                    except (ValueError, TypeError, KeyError):
                        continue  # a line that was cut short
            return self._listed


def other(output: Path) -> OutputMismatchError:
    """Return the error for an output that would be replaced."""
    return OutputMismatchError(
        f"{output} exists, and was not made from this source with this model and these settings; "
        "--force replaces it"
    )


def digest_of(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _key_in(path: Path) -> str | None:
    from cvivit.tokens.token_file import read_metadata

    try:
        with path.open("rb") as file:
            return read_metadata(file).get(METADATA_NAME)
    except (OSError, CViViTError):
        return None
