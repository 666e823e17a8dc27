"""Read and write the safetensors form of tokens: one tensor, `indices`, and the fields as metadata.

FORMAT.md specifies it. A file is 8 bytes with the length of the header, the header (JSON), and the indices.

The safetensors package is not used here: it gives no metadata for bytes in memory, has no limit for the sizes
that a header claims, and does not promise to write equal grids as equal bytes.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from cvivit.errors import (
    TokenFieldError,
    TokenFormatError,
    TokenRangeError,
    TokensError,
    TokenShapeError,
    TooManyTokensError,
)
from cvivit.tokens.strict_json import parse, shown

FORMAT, VERSION = "cvivit-tokens", "1"
TENSOR = "indices"
MAX_HEADER_BYTES = 64 * 1024
"""The most bytes of a header. Our own have some 250. The rest is room for metadata of other programs."""
CHUNK_BYTES = 1024 * 1024
"""How much is read at once. A header that claims terabytes makes us allocate only this much."""
RANKS = (3, 4)
DTYPES = {
    "U8": "u1",
    "I8": "i1",
    "U16": "<u2",
    "I16": "<i2",
    "U32": "<u4",
    "I32": "<i4",
    "U64": "<u8",
    "I64": "<i8",
}
"""The types that are read. Only U16 and U32 are written, but a generator may save tokens in another."""
MAX_REPORTED = 2**53
"""The largest number of tokens that an error reports. A header may claim one too long to be printed."""
INTEGER = re.compile(r"[0-9]{1,16}")
"""An integer in metadata, whose values are strings."""
NUMBER = re.compile(r"[0-9]{1,16}(\.[0-9]{1,32})?([eE][+-]?[0-9]{1,3})?")


def write(indices: np.ndarray, fields: dict[str, Any], more: Mapping[str, str] | None = None) -> bytes:
    """Return the safetensors form of `(clips, T, H, W)` uint16 or uint32 and `model`, `frames` and `fps`.

    `more` is metadata of other names, which readers ignore.
    """
    dtype = {np.dtype(np.uint16): "U16", np.dtype(np.uint32): "U32"}[indices.dtype]
    metadata = {"format": FORMAT, "version": VERSION, "model": fields["model"]}
    metadata |= {"frames": str(fields["frames"]), "fps": repr(fields["fps"])}
    metadata |= {name: value for name, value in (more or {}).items() if name not in metadata}
    tensor = {"dtype": dtype, "shape": list(indices.shape), "data_offsets": [0, indices.nbytes]}
    header = json.dumps({"__metadata__": metadata, TENSOR: tensor}, separators=(",", ":")).encode("ascii")
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + indices.astype(DTYPES[dtype]).tobytes()


def read(file: BinaryIO, *, max_tokens: int | None = None) -> tuple[np.ndarray, dict[str, Any]]:
    """Return integers `(clips, T, H, W)`, and those of the fields `model`, `frames` and `fps` that it has.

    The header comes from a stranger, so each size in it is checked before memory is allocated for it. The
    memory taken is that of the tokens that the file really has, and of at most `max_tokens` of them.

    Raises:
        TokensError: the subclass names the cause.
    """
    tensor, metadata = _read_header(file)
    fields = _fields(metadata)
    dtype, shape = _layout(tensor, max_tokens)
    data = _read(file, math.prod(shape) * dtype.itemsize, "the indices")
    if file.read(1):
        raise TokenFormatError("there are bytes after the indices")
    return np.frombuffer(data, dtype=dtype).reshape(-1, *shape[-3:]), fields


def read_metadata(file: BinaryIO) -> dict[str, str]:
    """Return all metadata of a whole token file, also that of other names, without reading the tokens.

    Args:
        file: a file that can seek, at its beginning.

    Raises:
        TokensError: it is no token file, or it is cut short.
    """
    tensor, metadata = _read_header(file)
    _fields(metadata)
    dtype, shape = _layout(tensor, None)
    end = file.tell() + math.prod(shape) * dtype.itemsize
    if file.seek(0, os.SEEK_END) != end:
        raise TokenFormatError("the file does not end after the indices")
    return metadata


def _read_header(file: BinaryIO) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the description of the tensor and the metadata, and leave the file after the header."""
    length = int.from_bytes(_read(file, 8, "the header's length"), "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise TokenFormatError(
            f"not a token file: its header has {length} bytes, not 2 to {MAX_HEADER_BYTES}"
        )
    return _header(_read(file, length, "the header"))


def _read(file: BinaryIO, count: int, what: str) -> bytearray:
    """Return exactly `count` bytes. The buffer grows with what is really there, in steps of `CHUNK_BYTES`."""
    data = bytearray()
    while len(data) < count:
        piece = file.read(min(count - len(data), CHUNK_BYTES))
        if not piece:
            raise TokenFormatError(f"the file ends within {what}")
        data += piece
    return data


def _header(raw: bytearray) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the description of the tensor `indices`, which must be the only one, and the metadata."""
    try:
        header = parse(bytes(raw))
    except TokensError as error:
        raise TokenFormatError(f"not a token file: the header is {error}") from None
    if not isinstance(header, dict):
        raise TokenFormatError("not a token file: the header is not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise TokenFormatError("not a token file: the metadata must map names to strings")
    other = next((name for name in header if name != TENSOR), None)
    if other is not None:
        raise TokenFormatError(f"there is a tensor {shown(other)} beside {TENSOR}")
    tensor = header.get(TENSOR)
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise TokenFormatError(
            f"not a token file: {TENSOR} is not described by dtype, shape and data_offsets"
        )
    return tensor, metadata


def _layout(tensor: dict[str, Any], max_tokens: int | None) -> tuple[np.dtype[Any], tuple[int, ...]]:
    """Return the type and the shape of the tensor, after checking that they agree with its place in the file.

    The number of tokens is computed from the claimed shape in Python's integers, which do not overflow, and
    is compared with `max_tokens` before anything of that size is allocated.
    """
    name, shape, offsets = tensor["dtype"], tensor["shape"], tensor["data_offsets"]
    if not isinstance(name, str) or name not in DTYPES:
        raise TokenRangeError(f"indices have the type {shown(name)}, which is not one of integers")
    if not _sizes(shape) or len(shape) not in RANKS:
        raise TokenShapeError("indices must be (clips, T, H, W), or (T, H, W) for one clip")
    if 0 in shape:
        raise TokenShapeError(f"there are no indices in a grid of {'x'.join(map(shown, shape))}")
    tokens = math.prod(shape)
    if max_tokens is not None and tokens > max_tokens:
        claimed = min(tokens, MAX_REPORTED)
        raise TooManyTokensError(f"more than {max_tokens} tokens", limit=max_tokens, actual=claimed)
    dtype = np.dtype(DTYPES[name])
    if not _sizes(offsets) or offsets != [0, tokens * dtype.itemsize]:
        raise TokenFormatError("not a token file: data_offsets do not agree with dtype and shape")
    return dtype, tuple(shape)


def _sizes(value: Any) -> bool:
    """Return whether `value` is a list of sizes. `type` rather than `isinstance`: a bool is an int."""
    return isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)


def _fields(metadata: dict[str, str]) -> dict[str, Any]:
    """Return the fields in their own types. Metadata of other programs, under other names, is ignored."""
    if (format_ := metadata.get("format", FORMAT)) != FORMAT:
        raise TokenFormatError(f"the file has the format {shown(format_)}, not {FORMAT}")
    if (version := metadata.get("version", VERSION)) != VERSION:
        raise TokenFormatError(f"version {shown(version)} of the token file; this program reads {VERSION}")
    fields: dict[str, Any] = {}
    if (model := metadata.get("model")) is not None:
        fields["model"] = model
    if (frames := metadata.get("frames")) is not None:
        if not INTEGER.fullmatch(frames):
            raise TokenFieldError(f"frames must be an integer in digits, not {shown(frames)}")
        fields["frames"] = int(frames)
    if (fps := metadata.get("fps")) is not None:
        if not NUMBER.fullmatch(fps):
            raise TokenFieldError(f"fps must be a number in digits, not {shown(fps)}")
        fields["fps"] = float(fps)
    return fields
