"""Tensors out of `torch.save` files, without running anything that is in them."""

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
"""How much of a pickle is looked through to say why it was refused."""
NAMED_GLOBALS = 3
ARCHIVE = b"PK\x03\x04"
HARMLESS = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_\w+|torch\.nn\.parameter\.Parameter"
    r"|torch\.(storage\.)?(\w*Storage|Size|device|Tensor|(b?float|u?int|q?u?int|bool|complex)\w*)"
)
"""What a pickle of tensors names."""


def load_tensors(path: Path) -> Any:
    """Return what `torch.load(weights_only=True)` finds, on the CPU, mapped rather than read where it can be.

    There is no second attempt without `weights_only`.

    Raises:
        WeightsUnsafeError: the file names functions or classes that tensors do not need. None was called.
        WeightsCorruptError: it is empty, truncated, or not such a file.
    """
    mapped = _is_archive(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the types of old files, which are checked afterwards
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # anything, OSError too, may come out of a parser given a stranger's file
        if foreign := _named_code(path, archive=mapped):
            names = ", ".join(foreign[:NAMED_GLOBALS])
            raise WeightsUnsafeError(
                f"{path.name} is a pickle that calls code ({names}); it was not run"
            ) from error
        raise WeightsCorruptError(f"{path.name} is not a file of tensors, or it is truncated") from error


def _is_archive(path: Path) -> bool:
    """Whether the file is a zip archive, as torch has written since 1.6.

    Raises:
        WeightsCorruptError: it is a damaged one, or its members are compressed. Torch writes none that are:
            mapped, they would be taken for weights, and unpacked, they can be a thousand times the file.
    """
    with path.open("rb") as file:
        if file.read(len(ARCHIVE)) != ARCHIVE:
            return False
    try:
        with zipfile.ZipFile(path) as archive:
            stored = all(member.compress_type == zipfile.ZIP_STORED for member in archive.infolist())
    except Exception as error:  # zipfile raises a dozen kinds where a file is damaged
        raise WeightsCorruptError(f"{path.name} is a damaged archive, or it is truncated") from error
    if not stored:
        raise WeightsCorruptError(f"{path.name} is a compressed archive: torch.save writes none")
    return True


def _named_code(path: Path, *, archive: bool) -> list[str]:
    """Return what of a pickle's names is code, as far as it can be parsed."""
    named: set[str] = set()
    with suppress(Exception):  # pickletools and zipfile raise a dozen kinds where a file is damaged
        for name in _foreign_globals(path, archive=archive):
            named.add(name)
    return sorted(named)


def _foreign_globals(path: Path, *, archive: bool) -> Iterator[str]:
    """Yield the functions and classes that a pickle names beside those of tensors. Nothing is imported."""
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
    """Yield from one pickle after another: the oldest format of torch is several, and then the tensors."""
    stream = io.BytesIO(data)
    while stream.tell() < len(data):
        yield from _globals_of_one(stream)


def _globals_of_one(pickle: BinaryIO) -> Iterator[str]:
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(pickle):
        if opcode.name in ("GLOBAL", "INST"):
            name = ".".join(str(argument).split(" ", 1))
        elif opcode.name == "STACK_GLOBAL":
            name = ".".join(strings[-2:])
        else:
            if isinstance(argument, str):
                strings = [*strings[-1:], argument]
            continue
        if not HARMLESS.fullmatch(name):
            yield name if name.isprintable() else ascii(name)
