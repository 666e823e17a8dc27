"""Parse the part of the language of Dockerfiles that this project's files use."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


class DockerfileError(ValueError):
    """A Dockerfile uses something that this parser does not support."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One instruction, its continued lines joined.

    Attributes:
        line: where it starts, from 1.
        keyword: in capitals.
        flags: `--name=value` before the arguments, by name; a flag without a value is empty.
        text: the rest, as written.
    """

    line: int
    keyword: str
    flags: Mapping[str, str] = field(default_factory=dict)
    text: str = ""

    def words(self) -> list[str]:
        """Return the arguments: a JSON list's items, or words split as a shell does."""
        if self.text.startswith("["):
            return [str(item) for item in json.loads(self.text)]
        return shlex.split(self.text)

    def pairs(self) -> dict[str, str | None]:
        """Return what an ARG or ENV sets, None where an ARG has no default."""
        found: dict[str, str | None] = {}
        for word in self.words():
            name, equals, value = word.partition("=")
            found[name] = value if equals else None
        return found


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A FROM and what follows it."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]

    def all(self, keyword: str) -> list[Instruction]:
        """Return the instructions of one kind, in order."""
        return [instruction for instruction in self.instructions if instruction.keyword == keyword]

    def last(self, keyword: str) -> Instruction:
        """Return the last instruction of a kind of which only the last one counts.

        Raises:
            DockerfileError: there is none.
        """
        found = self.all(keyword)
        if not found:
            raise DockerfileError(f"stage {self.name}: no {keyword}")
        return found[-1]


@dataclass(frozen=True, kw_only=True)
class Dockerfile:
    """A whole file: the arguments before its first FROM, and its stages. The last stage is the image."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]

    @property
    def image(self) -> Stage:
        """The stage that becomes the image."""
        return self.stages[-1]


def parse(text: str) -> Dockerfile:
    """Read a Dockerfile.

    Raises:
        DockerfileError: there is no FROM, or an instruction before the first FROM is not allowed there.
    """
    arguments: dict[str, str] = {}
    heads: list[tuple[str, str]] = []
    bodies: list[list[Instruction]] = []
    for instruction in _instructions(text):
        if instruction.keyword == "FROM":
            words = instruction.words()
            name = words[2] if len(words) == 3 and words[1].upper() == "AS" else str(len(heads))
            heads.append((name, expand(words[0], arguments)))
            bodies.append([])
        elif bodies:
            bodies[-1].append(instruction)
        elif instruction.keyword == "ARG":
            arguments.update({name: value or "" for name, value in instruction.pairs().items()})
        else:
            raise DockerfileError(f"line {instruction.line}: {instruction.keyword} before FROM")
    if not heads:
        raise DockerfileError("no FROM")
    stages = (
        Stage(name=name, base=base, instructions=tuple(body))
        for (name, base), body in zip(heads, bodies, strict=True)
    )
    return Dockerfile(arguments=arguments, stages=tuple(stages))


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$NAME` and `${NAME}`; an unknown one is empty, as in a shell."""
    return _VARIABLE.sub(lambda match: variables.get(match[1] or match[2], ""), text)


def _instructions(text: str) -> Iterator[Instruction]:
    start, parts = 0, list[str]()
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        if not parts:
            start = number
        parts.append(stripped.removesuffix("\\").strip())
        if not stripped.endswith("\\"):
            yield _instruction(start, " ".join(parts))
            parts = []
    if parts:
        raise DockerfileError(f"line {start}: the file ends in the middle of it")


def _instruction(line: int, text: str) -> Instruction:
    keyword, _, rest = text.partition(" ")
    flags: dict[str, str] = {}
    while match := re.match(r"--([\w-]+)(?:=(\S+))?\s+", rest):
        flags[match[1]] = match[2] or ""
        rest = rest[match.end() :]
    return Instruction(line=line, keyword=keyword.upper(), flags=flags, text=rest.strip())
