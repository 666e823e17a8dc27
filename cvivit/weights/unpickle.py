"""Read tensors from `torch.save` files without running any code in them.

A pickle is a program: it may name any function and call it. `torch.load(weights_only=True)` runs a restricted
interpreter that knows only what tensors need, and refuses the rest. When it refuses, this module parses the
pickle's opcodes, without running them, to tell the user which functions the file wanted to call.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch

from cvivit.errors import WeightsCorruptError, WeightsUnsafeError

MAX_SCANNED_BYTES = 64 * 1024 * 1024
"""How much of a refused pickle is parsed to find the reason."""
NAMED_GLOBALS = 3
"""How many functions the error names."""
ARCHIVE = b"PK\x03\x04"
"""The first bytes of a zip archive."""
HARMLESS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter"
    r"|torch\.(storage\.)?(\w*Storage|Size|device|Tensor|(b?float|u?int|q?u?int|bool|complex)\w*)"
)
"""The functions and classes that a pickle of tensors needs."""


def load_tensors(path: Path) -> Any:
    """Return what `torch.load(weights_only=True)` loads, on the CPU. Zip archives are mapped, not copied.

    If that fails, the file is never loaded without `weights_only`.

    Raises:
        WeightsUnsafeError: the file names functions or classes that tensors do not need. None was called.
        WeightsCorruptError: the file is empty, truncated, or not from `torch.save`.
    """
    mapped = _is_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old types cause warnings; the types are checked later
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged or hostile file may make the parser raise anything
        if foreign := _named_code(path, archive=mapped):
            names = ", ".join(foreign[:NAMED_GLOBALS])
            raise WeightsUnsafeError(
                f"{path.name} is a pickle that calls code ({names}), which was not run"
            ) from error
        raise WeightsCorruptError(f"{path.name} is not a file of tensors, or it is truncated") from error


def _is_archive(path: Path) -> bool:
    """Return whether the file is a zip archive, as torch writes since 1.6.

    Raises:
        WeightsCorruptError: the archive is damaged, or its members are compressed. torch never compresses
            them. A mapped compressed member would be read as weights, and an unpacked one may be a thousand
            times as large as the file.
    """
    with path.open("rb") as file:
        if file.read(len(ARCHIVE)) != ARCHIVE:
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
    except Exception as error:  # zipfile raises a dozen kinds of errors for damaged files
        raise WeightsCorruptError(f"{path.name} is a damaged archive, or it is truncated") from error
    if not stored:
        raise WeightsCorruptError(f"{path.name} is a compressed archive, which torch.save never writes")
    return True


def _named_code(path: Path, *, archive: bool) -> list[str]:
    """Return the code that a pickle names, as far as the pickle can be parsed."""
    named: set[str] = set()
    with suppress(Exception):  # pickletools and zipfile raise a dozen kinds of errors for damaged files
        for name in _foreign_globals(path, archive=archive):
            named.add(name)
    return sorted(named)


def _foreign_globals(path: Path, *, archive: bool) -> Iterator[str]:
    """Yield the functions and classes that a pickle names and tensors do not need. Nothing is imported."""
    if not archive:
        with path.open("rb") as file:
            yield from _globals_of(file.read(MAX_SCANNED_BYTES))
        return
    with zipfile.ZipFile(path) as members:
        for name in members.namelist():
            if name.endswith(".pkl"):
                with members.open(name) as file:
                    yield from _globals_of(file.read(MAX_SCANNED_BYTES))


def _globals_of(data: bytes) -> Iterator[str]:
    """Yield the foreign names of each pickle in `data`. torch's oldest format is several pickles in a row."""
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        yield from _globals_of_one(stream)


def _globals_of_one(pickle: BinaryIO) -> Iterator[str]:
    """Yield the foreign names of the pickle at the stream's position, and move past it."""
    strings: list[str] = []  # the last two strings that the pickle put on its stack
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in ("GLOBAL", "INST"):
            name = ".".join(str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":  # takes the module and the name from the stack
            name = ".".join(strings[-2:])
        else:
            if isinstance(argument, str):
                strings = [*strings[-1:], argument]
            continue
        if not HARMLESS.fullmatch(name):
            yield name if name.isprintable() else ascii(name)
