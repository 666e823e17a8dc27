"""The documentation's form: links that lead somewhere, and lines that can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documentation.documents import documents, prose
from tests.places import ROOT

MAX_PROSE = 120
"""The most characters of a line of prose. Tables, code blocks and lone links may be longer."""

_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(#[^)\s]*)?\)")


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = [line.lstrip("#").strip() for _, line in prose(text) if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text()
    wrong = []
    for _, line in prose(text):
        for target, anchor in _LINK.findall(line):
            file = path.parent / target if target else path
            if not file.exists() or (
                anchor and file.suffix == ".md" and anchor[1:] not in anchors(file.read_text())
            ):
                wrong.append(target + anchor)
    assert not wrong


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_lines_of_prose_can_be_read(path: Path) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{number}"
        for number, line in prose(path.read_text())
        if len(line) > MAX_PROSE and not line.lstrip().startswith(("|", "!["))
    ]
    assert not long
