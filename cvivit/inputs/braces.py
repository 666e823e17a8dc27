"""Names with braces, as `shard-{000..099}.tar`, which stand for several names, as in shells."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise, product
from typing import Final, NamedTuple

from cvivit.errors import InputError

MAX_BRACE_NAMES: Final = 1_000_000
"""The most names that one name with braces may stand for. With a thousand clips in each shard that is a
billion clips. A list, a folder or a glob may name more."""
MAX_BRACE_DEPTH: Final = 100
"""How deep braces may stand in each other."""

_NUMBERS: Final = re.compile(r"(-?\d{1,1000})\.\.(-?\d{1,1000})(?:\.\.-?(\d{1,1000}))?")
_LETTERS: Final = re.compile(r"(?:([a-z])\.\.([a-z])|([A-Z])\.\.([A-Z]))(?:\.\.-?(\d{1,1000}))?")
_SPECIAL: Final = re.compile(r"\\[{},]|[{},]")
"""What has a meaning in a name with braces. After a backslash it stands for itself."""
_ESCAPED: Final = re.compile(r"\\([{},])")


class _Part(NamedTuple):
    """A piece of a name. How many spellings it has is known before any is made."""

    number: int
    spellings: Iterable[str]
    is_text: bool = False


def has_braces(name: str) -> bool:
    """Return whether a name has braces that stand for something else than themselves.

    Raises:
        InputError: braces stand in each other more than `MAX_BRACE_DEPTH` deep.
    """
    return not all(part.is_text for part in _Name(name).parts())


def braces_close(name: str) -> bool:
    """Return whether a name has as many braces that close as such that open, in an order that fits."""
    return _Name(name).is_closed


def expand_braces(name: str) -> Iterator[str]:
    """Return the names that braces stand for, in the order in which Bash has them.

    `{000..099}`, `{0..9..3}`, `{a..f}` and `{a,b}` may stand beside each other and in each other. Numbers
    keep the zeros before them. Braces that hold nothing of these kinds, or do not close, stand for
    themselves.

    Raises:
        InputError: there are more than `MAX_BRACE_NAMES`, which are counted before the first is made, or
            braces stand in each other more than `MAX_BRACE_DEPTH` deep.
    """
    parts = _Name(name).parts()
    if _count(parts) > MAX_BRACE_NAMES:
        raise InputError(
            f"{name}: its braces stand for more than {MAX_BRACE_NAMES:,} names; name a folder, glob or list",
            limit=MAX_BRACE_NAMES,
        )
    return _joined(parts)


class _Name:
    """A name, and where its braces open and close, and which commas are between them."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._closing: dict[int, int] = {}
        self._commas: dict[int, list[int]] = {}
        self.is_closed = True
        opened: list[int] = []
        for found in _SPECIAL.finditer(name):
            if found[0] == "{":
                opened.append(found.start())
            elif found[0] == "}":
                if len(opened) > MAX_BRACE_DEPTH:
                    raise InputError(
                        f"{name}: its braces stand in each other more than {MAX_BRACE_DEPTH} deep",
                        limit=MAX_BRACE_DEPTH,
                    )
                if opened:
                    self._closing[opened.pop()] = found.start()
                else:
                    self.is_closed = False
            elif found[0] == "," and opened:
                self._commas.setdefault(opened[-1], []).append(found.start())
        self.is_closed = self.is_closed and not opened

    def parts(self, start: int = 0, end: int | None = None) -> list[_Part]:
        """Return the parts between two places."""
        end = len(self._name) if end is None else end
        parts, at = [], start
        for place in range(start, end):
            if place < at or place not in self._closing:
                continue
            close = self._closing[place]
            parts += [_text(self._name[at:place]), *self._within(place, close)]
            at = close + 1
        return [*parts, _text(self._name[at:end])]

    def _within(self, opened: int, closed: int) -> list[_Part]:
        """Return the parts that braces and what is between them stand for."""
        inside = self._name[opened + 1 : closed]
        if found := _NUMBERS.fullmatch(inside):
            first, last, step = found.groups()
            width = max(len(first), len(last)) if _has_zeros(first) or _has_zeros(last) else 0
            numbers = _range(int(first), int(last), step)
            return [_Part(_length(numbers), (f"{number:0{width}d}" for number in numbers))]
        if found := _LETTERS.fullmatch(inside):
            letters = _range(ord(found[1] or found[3]), ord(found[2] or found[4]), found[5])
            return [_Part(len(letters), map(chr, letters))]
        if commas := self._commas.get(opened):
            options = [self.parts(left + 1, right) for left, right in pairwise([opened, *commas, closed])]
            return [_Part(sum(map(_count, options)), chain.from_iterable(map(_joined, options)))]
        return [_text("{"), *self.parts(opened + 1, closed), _text("}")]


def _text(text: str) -> _Part:
    return _Part(1, (_ESCAPED.sub(r"\1", text),), is_text=True)


def _count(parts: Iterable[_Part]) -> int:
    return math.prod(part.number for part in parts)


def _joined(parts: Iterable[_Part]) -> Iterator[str]:
    return map("".join, product(*(part.spellings for part in parts)))


def _has_zeros(number: str) -> bool:
    digits = number.lstrip("-")
    return len(digits) > 1 and digits.startswith("0")


def _range(first: int, last: int, step: str | None) -> range:
    wide = int(step or 1) or 1
    return range(first, last + 1, wide) if first <= last else range(first, last - 1, -wide)


def _length(numbers: range) -> int:
    """Return how many numbers there are. `len` refuses more than 2**63."""
    whole, rest = divmod(numbers.stop - numbers.start, numbers.step)
    return whole + bool(rest)
