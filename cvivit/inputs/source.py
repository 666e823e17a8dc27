"""One file to read, and what belongs to it: a caption and metadata, beside it or from a table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cvivit.errors import InputUnavailableError, SidecarError
from cvivit.inputs.kinds import SourceKind
from cvivit.inputs.locations import beside
from cvivit.inputs.reading import read_whole
from cvivit.inputs.remote import is_refusal

MAX_CAPTION_BYTES = 1 << 20
"""Bytes of a caption. More is no caption but a mistake."""
MAX_METADATA_BYTES = 16 << 20
"""Bytes of a JSON file beside a video."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file looked like at one moment, to notice that it has changed since."""

    size: int
    """Bytes. -1 if the file does not exist or cannot be reached, 0 if a server does not state it."""
    changed: str
    """Time of its last change, or what a server states instead, such as an ETag."""
    beside: str = ""
    """Digest of what a table says of the file, and of the sizes and times of the files beside it."""


@dataclass(frozen=True, kw_only=True, order=True, slots=True)
class Source:
    """One file to read. There may be a million of them, so the files beside it are read when asked for."""

    location: str
    """Absolute local path, or an fsspec URL (`s3://`, `gs://`, `hf://`, `http(s)://`, `memory://`); that of a
    shard, `#` and a name for a file in a shard."""
    name: str
    """Path below the folder, glob, list or table that the user named, with "/" and the suffix. Names of
    outputs and keys of samples are made from it."""
    kind: SourceKind
    caption_suffix: str = ""
    """Suffix of the file beside it that holds the caption."""
    metadata_suffix: str = ""
    """Suffix of the file beside it that holds the metadata."""
    guessed: bool = False
    """Whether those files may be missing, because nobody listed the folder of a server."""
    rows: tuple[str, ...] = ()
    """What the rows of tables say: each the JSON of a caption and of an object with the other columns."""
    listed: Stamp | None = field(default=None, compare=False, repr=False)
    """Size and time as the listing of a server stated them."""
    place: tuple[int, int] | None = field(default=None, compare=False, repr=False)
    """Offset and size, for a file of a shard whose server gives parts of it."""

    def caption(self) -> str | None:
        """Return the text that describes it: that of tables (a line for each row), or of the file beside it.

        The text of a file is given as it is, with the line break that editors end files with.

        Raises:
            SidecarError: the file beside it is not text in UTF-8, too large, or gone.
            InputUnavailableError: the server does not give it.
        """
        texts = [text for text, _ in self._read_rows() if text is not None]
        if texts:
            return _limited("\n".join(dict.fromkeys(texts)), f"{self.location}: the caption of its table")
        if not self.caption_suffix:
            return None
        return self._read(self.caption_suffix, MAX_CAPTION_BYTES, "a caption", str)

    def metadata(self) -> dict[str, Any] | None:
        """Return what else is known of it: the JSON file beside it, and over that other columns of tables.

        Where rows differ in a column, its value is the list of theirs.

        Raises:
            SidecarError: the file beside it is not a JSON object, too large, or gone.
            InputUnavailableError: the server does not give it.
        """
        found = None
        if self.metadata_suffix:
            found = self._read(self.metadata_suffix, MAX_METADATA_BYTES, "metadata", _object)
        columns = _joined([fields for _, fields in self._read_rows()])
        return {**(found or {}), **columns} if columns else found

    def merged(self, other: Source) -> Source:
        """Return the same file with what two inputs know of it."""
        return replace(
            self,
            kind=other.kind if self.kind == "unknown" else self.kind,
            caption_suffix=self.caption_suffix or other.caption_suffix,
            metadata_suffix=self.metadata_suffix or other.metadata_suffix,
            guessed=self.guessed and other.guessed,
            rows=tuple(dict.fromkeys(self.rows + other.rows)),
            listed=self.listed or other.listed,
        )

    def sidecars(self) -> list[str]:
        """Return the locations of the files beside it that belong to it."""
        return [
            beside(self.location, suffix) for suffix in (self.caption_suffix, self.metadata_suffix) if suffix
        ]

    def _read_rows(self) -> list[tuple[str | None, dict[str, Any]]]:
        return [tuple(json.loads(row)) for row in self.rows]

    def _read(self, suffix: str, limit: int, what: str, parse: Callable[[str], Any]) -> Any:
        location = beside(self.location, suffix)
        try:
            data = read_whole(location, limit + 1, text_only=self.guessed)
        except FileNotFoundError:
            if self.guessed:
                return None
            raise SidecarError(f"{location}: no longer there") from None
        except InputUnavailableError as error:
            if self.guessed and is_refusal(error.__cause__):  # S3 says so of files that are not there
                return None
            raise
        except OSError as error:
            raise SidecarError(f"{location}: {error.strerror or error}") from None
        if len(data) > limit:
            raise SidecarError(f"{location}: {what} of more than {limit} bytes")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise SidecarError(f"{location}: {what} is text in UTF-8") from None
        try:
            return parse(text)
        except (ValueError, RecursionError) as error:
            reason = f" ({error})" if isinstance(error, json.JSONDecodeError) else ""
            raise SidecarError(f"{location}: {what} is a JSON object{reason}") from None


def row_of(caption: str | None, fields: dict[str, Any]) -> str:
    """Return what a row of a table says of a file, as `Source.rows` keeps it."""
    return json.dumps([caption, fields], ensure_ascii=False, separators=(",", ":"))


def _object(text: str) -> dict[str, Any]:
    def refuse(name: str) -> None:
        raise ValueError(f"{name} is not JSON")

    value = json.loads(text, parse_constant=refuse)
    if not isinstance(value, dict):
        raise ValueError("not an object")
    return value


def _limited(text: str, what: str) -> str:
    if len(text.encode(errors="surrogatepass")) > MAX_CAPTION_BYTES:
        raise SidecarError(f"{what} has more than {MAX_CAPTION_BYTES} bytes")
    return text


def _joined(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row)
    joined = {}
    for name in names:
        values = [row.get(name) for row in rows]
        joined[name] = values[0] if all(value == values[0] for value in values) else values
    return joined
