"""The house rules that a reader relies on: who imports whom, and how large a file grows."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.places import ROOT

FORBIDDEN = {
    "cvivit": {"service", "training", "fastapi", "starlette", "uvicorn", "pebble", "prometheus_client",
               "structlog", "accelerate", "webdataset", "wandb", "tensorboard", "trackio"},
    "service": {"training", "accelerate", "webdataset"},
    "training": {"service", "fastapi", "starlette", "uvicorn"},
}  # fmt: skip
LINES = 330


def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name."""
    found = {}
    for package in FORBIDDEN:
        for path in (ROOT / package).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports(path: Path, *, when_loaded: bool) -> frozenset[str]:
    """What a file imports: everywhere in it, or only while it is being loaded."""
    return frozenset(_imports(ast.parse(path.read_text()), when_loaded))


def _imports(node: ast.AST, when_loaded: bool) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif when_loaded and (
            isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
            or (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test))
        ):
            continue
        else:
            yield from _imports(child, when_loaded)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_import_only_what_they_may(package: str) -> None:
    wrong = {
        (name, imported)
        for name, path in modules().items()
        if name.split(".")[0] == package
        for imported in imports(path, when_loaded=False)
        if imported.split(".")[0] in FORBIDDEN[package]
    }
    assert not wrong


def test_no_imports_run_in_circles() -> None:
    known = modules()
    edges = {
        name: {i for i in imports(path, when_loaded=True) if i in known and i != name}
        for name, path in known.items()
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name not in done:
            for target in edges[name]:
                # a package's own face is loaded before its rooms, and is no step in a circle
                if not name.startswith(f"{target}."):
                    visit(target, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


@pytest.mark.parametrize("path", modules().values(), ids=modules())
def test_every_file_is_one_room(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LINES
    assert not text.strip() or ast.get_docstring(ast.parse(text))
