"""Tell whether two lists of shards hold the same data, wherever the files are.

A position in the data says nothing about other data, even if its shards have the same names, as those of
every dataset that `prepare` writes. So a checkpoint keeps the names of the shards, and samples of their
contents. The same shards in another folder, or behind another or a newly signed URL, are still the same.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.request
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import urlparse

import numpy as np

from cvivit.errors import InputError
from cvivit.inputs.locations import is_web
from cvivit.inputs.reading import read_whole
from cvivit.inputs.remote import describe
from cvivit.shards.urls import PIPE, is_remote

SAMPLED_SHARDS: Final = 16
"""Shards whose contents are looked at, evenly spaced: each costs a request where they are far away."""
SAMPLED_BYTES: Final = 16 * 1024
"""Bytes from the start of a shard, which hold the name, the size and the first part of its first clip."""
REQUEST_TIMEOUT_SECONDS: Final = 10.0

UNKNOWN: Final = ""
"""The digest of contents that cannot be looked at, which is never compared."""


def digest_names(shards: Sequence[str]) -> str:
    """Return a digest of the shards' names and their order."""
    return _digest(_name(shard).encode(errors="surrogateescape") for shard in shards)


def digest_contents(shards: Sequence[str]) -> str:
    """Return a digest of samples of the shards' sizes and contents, or UNKNOWN if one cannot be read now."""
    places = np.linspace(0, len(shards) - 1, min(SAMPLED_SHARDS, len(shards))).round().astype(int)
    try:
        return _digest(_sample(shards[place]) for place in places)
    except (OSError, ValueError, InputError):  # a server that is down, or a command that cannot be run twice
        return UNKNOWN


def _digest(parts: object) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:  # type: ignore[attr-defined]
        digest.update(part + b"\n")
    return digest.hexdigest()


def _sample(shard: str) -> bytes:
    """Return the size and the first bytes of a shard."""
    if shard.startswith(PIPE):
        raise ValueError("the output of a command is not read twice")
    if not is_remote(shard):
        with open(shard, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            return f"{size}:".encode() + file.read(SAMPLED_BYTES)
    if not is_web(shard):
        size = describe(shard, waits=())["size"]
        return f"{size}:".encode() + read_whole(shard, SAMPLED_BYTES, waits=())
    headers = {"Range": f"bytes=0-{SAMPLED_BYTES - 1}"}
    request = urllib.request.Request(shard, headers=headers)  # noqa: S310 - http or https
    with urllib.request.urlopen(request, timeout=REQUEST_TIMEOUT_SECONDS) as answer:  # noqa: S310
        # A server that knows no ranges answers with the whole, of which only the start is read.
        whole = re.fullmatch(r"bytes \d+-\d+/(\d+)", answer.headers.get("Content-Range", ""))
        length = whole[1] if whole else answer.headers["Content-Length"]
        return f"{length}:".encode() + answer.read(SAMPLED_BYTES)


def _name(shard: str) -> str:
    """Return the part of a shard's name that stays when its folder moves or its URL is signed anew."""
    return shard if shard.startswith(PIPE) else PurePosixPath(urlparse(shard).path).name
