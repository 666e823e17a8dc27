"""Read lists and tables: text with a path per line, CSV, and Parquet."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from cvivit.errors import InputTableError, MissingPackageError
from cvivit.inputs.kinds import PARQUET_SUFFIXES
from cvivit.inputs.source import row_of

PATH_COLUMNS = (
    "path", "file_path", "filepath", "video_path", "video_file", "file", "file_name", "filename", "video",
    "url", "video_url", "uri", "location", "image_path", "image", "source",
)  # fmt: skip
"""Names of the column of paths, in capitals or not. The first that a table has is taken."""
CAPTION_COLUMNS = ("caption", "text")
"""Names of the column whose value becomes the caption. All other columns become metadata."""
MAX_CELL_CHARACTERS = 1 << 20
"""Characters of one cell of CSV."""
_MISSING = frozenset(("", "nan", "none", "null", "n/a", "<na>"))
"""What programs write for a path that is missing."""
_BATCH_ROWS = 4096
_DELIMITERS = ",;\t"


def list_entries(path: str, name: str) -> Iterator[str]:
    """Yield the lines of a list without comments.

    Args:
        path: where the list can be read.
        name: what the user calls it.

    Raises:
        InputTableError: it is not text in UTF-8, or cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            for line in file:
                if (entry := line.strip()) and not entry.startswith("#"):
                    yield entry
    except UnicodeDecodeError:
        raise InputTableError(f"{name}: a list is text in UTF-8, with a path or a glob per line") from None
    except OSError as error:
        raise InputTableError(f"{name}: {error.strerror or error}") from None


def table_rows(path: str, name: str, suffix: str) -> Iterator[tuple[str, str]]:
    """Yield for each row of a table the path that it names, and what else it says, as `row_of` writes it.

    Args:
        path: where the table can be read.
        name: what the user calls it.
        suffix: in lower case; it tells Parquet from CSV.

    Raises:
        InputTableError: it cannot be read, has no column of paths, no rows, or a row without a path.
        MissingPackageError: pyarrow, which reads Parquet, is not installed.
    """
    records = _parquet(path, name) if suffix in PARQUET_SUFFIXES else _csv(path, name, suffix)
    columns: Sequence[str] | None = None
    for number, (columns, values, place) in enumerate(records):
        if number == 0:
            path_column, caption_column = _choose(columns, name)
        fields = dict(zip(columns, values, strict=True))
        file = fields.pop(path_column)
        if file is None or (isinstance(file, str) and file.strip().lower() in _MISSING):
            raise InputTableError(f"{name}: {place} has nothing in the column {path_column!r}")
        if not isinstance(file, str):
            raise InputTableError(
                f"{name}: the column {path_column!r} holds {type(file).__name__}, not paths"
            )
        caption = fields.pop(caption_column) if caption_column else None
        if caption is not None and not isinstance(caption, str):
            raise InputTableError(f"{name}: {place} has a caption that is {type(caption).__name__}, not text")
        told = {column: value for column, value in fields.items() if value is not None}
        yield file, row_of(caption, told) if told or caption is not None else ""
    if columns is None:
        raise InputTableError(f"{name}: the table has no rows")


def _choose(columns: Sequence[str], name: str) -> tuple[str, str | None]:
    """Return the columns of paths and of captions."""
    known = {column.strip().lower(): column for column in reversed(columns)}
    path_column = next((known[one] for one in PATH_COLUMNS if one in known), None)
    if path_column is None:
        have = ", ".join(columns) if columns else "none"
        raise InputTableError(
            f"{name}: no column of paths. Its columns are {have}; call the one with the paths 'path'"
        )
    return path_column, next((known[one] for one in CAPTION_COLUMNS if one in known), None)


Record = tuple[Sequence[str], Sequence[Any], str]
"""Names of columns, values of one row, and where it is, for messages."""


def _csv(path: str, name: str, suffix: str) -> Iterator[Record]:
    csv.field_size_limit(MAX_CELL_CHARACTERS)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            delimiter = "\t" if suffix == ".tsv" else max(_DELIMITERS, key=head.count)
            # Strict, since a quotation mark that never closes would swallow the rest of the table.
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            columns = next(reader, None)
            if not columns:
                raise InputTableError(f"{name}: the table is empty; its first line names the columns")
            if len(set(columns)) < len(columns):
                raise InputTableError(f"{name}: two columns have one name ({', '.join(columns)})")
            if not any(column.strip().lower() in PATH_COLUMNS for column in columns):
                _choose(columns, name)
            for cells in reader:
                place = f"line {reader.line_num}"
                if not cells:
                    continue
                if len(cells) != len(columns):
                    raise InputTableError(
                        f"{name}: {place} has {len(cells)} cells for {len(columns)} columns"
                    )
                yield columns, [cell or None for cell in cells], place
    except UnicodeDecodeError:
        raise InputTableError(f"{name}: a table is text in UTF-8") from None
    except csv.Error as error:
        raise InputTableError(f"{name}: line {reader.line_num}: {error}") from None
    except OSError as error:
        raise InputTableError(f"{name}: {error.strerror or error}") from None


def _parquet(path: str, name: str) -> Iterator[Record]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise MissingPackageError(f"{name}: Parquet needs the package pyarrow: pip install pyarrow") from None
    try:
        with ParquetFile(path) as file:
            columns = file.schema_arrow.names
            _choose(columns, name)
            row = 0
            for batch in file.iter_batches(batch_size=_BATCH_ROWS):
                lists = [column.to_pylist() for column in batch.columns]
                for values in zip(*lists, strict=True):
                    row += 1
                    place = f"row {row}"
                    yield columns, [_plain(value, name, place) for value in values], place
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines() or [type(error).__name__]
        raise InputTableError(f"{name}: not a Parquet file that can be read ({reason[0]})") from None


def _plain(value: Any, name: str, place: str) -> Any:
    """Return a value of Parquet as JSON has it. NaN counts as nothing."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case Decimal():
            return _plain(float(value), name, place)
        case list() | tuple():
            return [_plain(one, name, place) for one in value]
        case dict():
            return {str(key): _plain(one, name, place) for key, one in value.items()}
    raise InputTableError(
        f"{name}: {place} holds {type(value).__name__}, which JSON cannot hold; leave it out"
    )
