"""The project's Markdown files, and the blocks of code in them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sybil import Document, Example, Region
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from tests.places import ROOT

LANGUAGES = frozenset(
    {"bash", "sh", "python", "javascript", "json", "toml", "yaml", "nginx"}
    | {"console", "csv", "diff", "dockerfile", "html", "ini", "jsonl", "mermaid", "text"}
)
"""The languages of blocks. `bash` is run as it is written. `sh` may need more than a reader's machine has, so
its commands are checked and not run. `text` and `console` show what a program prints."""


def documents() -> list[Path]:
    """Return every Markdown file of the project."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    names = listed.stdout.split("\n") if not listed.returncode else []
    return [path for name in names if name and (path := ROOT / name).exists()] or sorted(
        path for path in ROOT.rglob("*.md") if ".venv" not in path.parts
    )


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines outside code blocks, with their numbers."""
    fence = ""
    for number, line in enumerate(text.split("\n"), 1):
        opening = re.match(r"\s*(```+|~~~+)", line)
        if opening and not fence:
            fence = opening[1]
        elif fence and line.strip() == fence:
            fence = ""
        elif not fence:
            yield number, line


def paragraphs(text: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs outside code blocks, each as one line, with the numbers of their first lines."""
    first, lines = 0, list[str]()
    for number, line in [*prose(text), (0, "")]:
        if lines and (not line.strip() or line.startswith("|") or number != first + len(lines)):
            yield first, " ".join(lines)
            lines = []
        if line.strip():
            first = first if lines else number
            lines.append(line.strip())


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Attributes:
        language: the first word after the fence, or "".
        section: the nearest heading of the second level above it, or "".
        line: the number of its first line of code.
    """

    path: Path
    language: str
    section: str
    line: int
    source: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def _fences(document: Document) -> Iterator[Region]:
    lexer = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))
    for region in lexer(document):
        region.parsed = region.lexemes
        yield region


@cache
def blocks(path: Path) -> tuple[Block, ...]:
    """Return the blocks of a document, from its top to its end."""
    document = Document.parse(str(path), _fences)
    headings = [(n, line[3:].strip()) for n, line in prose(document.text) if line.startswith("## ")]

    def block(example: Example) -> Block:
        above = [heading for number, heading in headings if number < example.line]
        language = example.parsed["language"].split(" ")[0].strip()
        section = above[-1] if above else ""
        return Block(path, language, section, example.line + 1, str(example.parsed["source"]))

    return tuple(block(example) for example in document)
