"""The rules of structure that a reader relies on: who imports whom, and how large files and folders grow."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.places import ROOT

FORBIDDEN = {
    "cvivit": {"service", "training", "fastapi", "starlette", "uvicorn", "pebble", "prometheus_client",
               "structlog", "accelerate", "wandb", "tensorboard", "trackio"},
    "service": {"training", "accelerate", "webdataset"},
    "training": {"service", "fastapi", "starlette", "uvicorn"},
}  # fmt: skip
"""What each package must never import."""
MAX_LINES = 330
"""The most lines of a file. A longer file holds more than one concept."""
MAX_MODULES = 12
"""The most modules of a folder, besides its `__init__.py`. A longer list is hard to take in."""


def modules() -> dict[str, Path]:
    """Return every module of the three packages by its dotted name."""
    found = {}
    for package in FORBIDDEN:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path, *, in_functions: bool) -> frozenset[str]:
    """Return the modules and names that a file imports, those under `TYPE_CHECKING` included."""
    return frozenset(_imports(ast.parse(path.read_text()), in_functions))


def _imports(node: ast.AST, in_functions: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif in_functions or not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, in_functions)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_what_they_may(package: str) -> None:
    wrong = {
        (name, imported)
        for name, path in modules().items()
        if name.split(".")[0] == package
        for imported in imports(path, in_functions=True)
        if imported.split(".")[0] in FORBIDDEN[package]
    }
    assert not wrong


def test_no_imports_run_in_circles() -> None:
    known = modules()
    edges = {
        name: {i for i in imports(path, in_functions=False) if i in known and i != name}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in edges[name]:
                # Python loads a package's __init__.py before any module in it, so that edge closes no circle.
                if not name.startswith(f"{target}."):
                    visit(target, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("path", modules().values(), ids=modules())
def test_every_file_holds_one_concept(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_LINES
    assert not text.strip() or ast.get_docstring(ast.parse(text))


@pytest.mark.parametrize("folder", sorted({path.parent for path in modules().values()}), ids=str)
def test_every_folder_can_be_taken_in_at_a_glance(folder: Path) -> None:
    found = sorted(path.name for path in folder.glob("*.py") if path.name != "__init__.py")
    assert len(found) <= MAX_MODULES, found
