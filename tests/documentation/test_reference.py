"""The API reference can be built from the docstrings, and shows every public name."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from docs.reference import MODULES
from tests.places import ROOT


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference, built as `make docs` does it. A warning of pdoc ends the build."""
    folder = tmp_path_factory.mktemp("reference")
    done = subprocess.run(
        [sys.executable, "-m", "docs.reference", str(folder)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def test_the_reference_shows_every_public_name(pages: Path) -> None:
    for module in MODULES:
        page = (pages / Path(*module.split("."))).with_suffix(".html").read_text()
        shown = set(re.findall(r'<section id="([\w.]+)"', page))
        public = set(getattr(import_module(module), "__all__", ())) - {"__version__"}
        assert public <= shown, module
        assert shown, module


def test_no_docstring_is_shown_as_raw_text(pages: Path) -> None:
    """What pdoc does not understand stays as it was written, such as the mark of a code block."""
    unknown = re.compile(r"<p>(?:Args|Raises|Returns|Attributes|Yields):|::\s*</p>|`\w+`")
    raw = []
    for path in pages.rglob("*.html"):
        text = re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", path.read_text(), flags=re.DOTALL)
        raw += [(path.name, found) for found in unknown.findall(text)]
    assert not raw
