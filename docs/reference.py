"""Build the API reference from the docstrings: `python -m docs.reference FOLDER`, or `make docs`.

pdoc makes the pages. It needs nothing but the packages themselves, and reads Google's form of docstrings.
Zensical with mkdocstrings would need a page for each module, a configuration and a theme.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import get_type_hints

import pdoc
from pydantic import BaseModel

MODULES = (
    "cvivit",
    "cvivit.bulk",
    "cvivit.errors",
    "cvivit.inputs",
    "cvivit.metrics",
    "cvivit.tokens",
    "cvivit.video",
    "cvivit.weights",
    "service.client",
    "training.config.loading",
    "training.config.schema",
    "training.data",
    "training.errors",
    "training.evaluate.run",
    "training.export",
    "training.prepare",
    "training.run.loop",
)
"""What callers import. docs/compatibility.md says what of it is public. Other modules are not shown."""


def _show_plain_types(module: ModuleType) -> None:
    """Leave out what pydantic checks beside the type of a field: a page would show it as Python prints it."""
    for model in vars(module).values():
        if isinstance(model, type) and issubclass(model, BaseModel) and model is not BaseModel:
            plain = get_type_hints(model)
            model.__annotations__ = {name: plain[name] for name in model.__annotations__}


def build(folder: Path) -> list[Path]:
    """Write the pages to a folder and return them. A name that does not resolve is an error.

    Raises:
        UserWarning: a docstring, an annotation or a name in `__all__` cannot be shown.
    """
    for module in map(import_module, MODULES):
        # Some names are imported on first use. pdoc looks only for those that are there already.
        vars(module).update({name: getattr(module, name) for name in getattr(module, "__all__", ())})
        _show_plain_types(module)
    pdoc.render.configure(docformat="google", show_source=False, footer_text="phenaki-cvivit")
    specifications = [each for module in MODULES for each in (module, rf"!{module}\..+")]
    # A pattern takes the modules inside a package out again, and a later name adds one of them.
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        pdoc.pdoc(*specifications, output_directory=folder)
    return sorted(folder.rglob("*.html"))


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/reference")
    build(target)
    sys.stdout.write(f"{target / 'index.html'}\n")
