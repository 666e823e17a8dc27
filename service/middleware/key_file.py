"""The file of API keys: one key a line, each with an optional name and optional limits.

::

    # clients of the spring                         a comment
    6f1c0e0a2b...                                   a key
    9d27aa41c4...   name=alice per_minute=120       a key with a name and a limit   # another comment
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path

from cvivit.errors import ConfigError

NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
COUNT = re.compile(r"[1-9][0-9]{0,8}")
COMMENT = re.compile(r"(^|\s)#.*")
"""A `#` starts a comment at the start of a line or after a blank. Elsewhere it is part of a key."""

UNNAMED = "unnamed"
"""What stands in logs and metrics for a key without a name."""
OPTIONS = "name=, in_flight= and per_minute="


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """One key's name and limits. The key itself is kept only as a digest, and is never logged."""

    digest: bytes
    name: str | None = None
    in_flight: int | None = None
    """Requests of this name that may be worked on at the same time; None is no limit of its own."""
    per_minute: int | None = None
    """Requests of this name that are accepted within any 60 seconds; None is no limit."""

    @property
    def shown(self) -> str:
        """The name that logs and metrics show in place of the key."""
        return self.name or UNNAMED

    @property
    def owner(self) -> str | bytes:
        """The owner whose use is limited: all keys of one name together, or a single key without a name."""
        return self.digest if self.name is None else self.name


def digest_of(key: bytes) -> bytes:
    """Return the digest under which a key is kept and looked up."""
    return hashlib.sha256(key).digest()


def read_key_file(path: Path) -> dict[bytes, ApiKey]:
    """Return the keys of a file, by their digests.

    Raises:
        ConfigError: the file cannot be read as text, a line says something that is not understood, or there
            is no key in it. The message names the line and never a key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # without the mark that some editors put first
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigError(f"api_keys_file: {path} cannot be read: {reason}") from error
    keys: dict[bytes, ApiKey] = {}
    by_name: dict[str, ApiKey] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = COMMENT.sub("", line).split()
        if not words:
            continue
        where = f"api_keys_file: {path}, line {number}"
        key = _parse(words, where)
        if keys.setdefault(key.digest, key) != key:
            raise ConfigError(f"{where}: this key is there twice, with another name or other limits")
        if key.name is not None:
            first = by_name.setdefault(key.name, key)
            if replace(first, digest=key.digest) != key:
                raise ConfigError(f"{where}: an earlier key named {key.name} has other limits")
    if not keys:
        raise ConfigError(f"api_keys_file: {path} has no key in it")
    return keys


def _parse(words: list[str], where: str) -> ApiKey:
    key, *options = words
    name: str | None = None
    limits: dict[str, int | None] = {"in_flight": None, "per_minute": None}
    seen: set[str] = set()
    for option in options:
        label, _, value = option.partition("=")
        # What is not an option may be the rest of a key, so it is not repeated in the message.
        if label in seen or label not in ("name", *limits):
            raise ConfigError(f"{where}: after the key only {OPTIONS} may follow, each once")
        seen.add(label)
        if label == "name":
            if not NAME.fullmatch(value):
                raise ConfigError(f"{where}: a name is 1 to 64 letters, digits and . _ @ -")
            name = value
        elif COUNT.fullmatch(value):
            limits[label] = int(value)
        else:
            raise ConfigError(f"{where}: {label} is a whole number from 1 to 999999999")
    return ApiKey(digest=digest_of(key.encode()), name=name, **limits)
