"""The page SETTINGS.md: every setting with its type, its default and its meaning.

It is made from the configuration itself, and a test fails if the page is out of date::

    python -m training.config.page > training/SETTINGS.md
"""

from __future__ import annotations

import ast
import inspect
import itertools
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import Any, get_type_hints

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from cvivit.config import MAX_FPS, MIN_FPS
from training.config.schema import TrainingConfig
from training.config.section import MODEL_PRESETS, Section
from training.config.stages import MAY_CHANGE

HEAD = """\
# Settings of a training run

Give a setting on the command line, as in `--set loop.steps=200 data.flip=0.5`, or in a TOML file under its
section, and name the file with `--config`. A setting that is not given has the value of the preset, or else
the default below. `null` takes a limit back, as in `--set losses.lpips_frames=null`.

This page is made from the code: `python -m training.config.page > training/SETTINGS.md`.
"""

STAGES = """\
## stages

Settings that replace those above from an optimizer step on, counted from 0. Each stage has `from` and any
settings of the sections below, and builds on the stage before it:

```toml
[[stages]]
from = 2_000
model.image_size = 128
data.batch_size = 4

[[stages]]
from = 3_000
losses.adversarial = 0.1
loop.ema_decay = 0.999
```

On the command line: `--set 'stages=[{from = 2000, model.image_size = 128}]'`.
[README.md](README.md#stages) says what a stage keeps and what it begins anew.

"""

_TYPES = {
    "str": "text",
    "int": "integer",
    "float": "number",
    "bool": "true or false",
    "PositiveInt": "integer above 0",
    "NonNegativeInt": "integer from 0",
    "PositiveFloat": "number above 0",
    "NonNegativeFloat": "number from 0",
    "Fraction": "number from 0 to 1",
    "Decay": "number from 0, below 1",
    "Patterns": "text or list of texts",
    "Trackers": "list of tensorboard, wandb, trackio",
    "Freezable": "list of encoder, quantizer, decoder",
    "Pair": "integer, or height and width",
}
"""Names of types in the code, in the words of the page."""
_SELF_EXPLANATORY = {
    "heads": "Attention heads.",
    "dim_head": "Width of an attention head.",
    "channels": "Colour channels of a pixel.",
    "codebook_size": "Codes of the codebook.",
}
"""Meanings of fields of the network that its own file leaves to their names."""
_BOUNDS = {"MIN_FPS": f"{MIN_FPS:g}", "MAX_FPS": f"{MAX_FPS:g}", "2 ** 32": "2^32", "2 ** 63": "2^63"}


def settings_page() -> str:
    """Return the text of SETTINGS.md."""
    sections = [HEAD]
    for name, field in TrainingConfig.model_fields.items():
        if name != "stages":  # which is a list of sections
            section = get_type_hints(TrainingConfig)[name]
            sections.append(_section(name, section, field.default))
    sections.append(STAGES + _changeable())
    return "\n".join(sections)


def _changeable() -> str:
    """Return the rows that say which settings of each section a stage may change."""
    rows = []
    for section, names in MAY_CHANGE.items():
        known = type(TrainingConfig.model_fields[section].default).model_fields
        fixed = [name for name in known if name not in names]
        few = names if len(names) <= len(fixed) else fixed
        listed = ", ".join(f"`{name}`" for name in known if name in few)
        text = "all" if not fixed else listed if few is names else f"all but {listed}"
        rows.append(f"| {section} | {text} |")
    return "\n".join(["| section | what a stage may change |", "|---|---|", *rows]) + "\n"


def _section(name: str, section: type[BaseModel], defaults: BaseModel) -> str:
    own = issubclass(section, Section)
    about = inspect.getdoc(section) if own else _meanings(TrainingConfig)[name]
    lines = [f"## {name}", "", _one_line(about or ""), ""]
    lines += ["| setting | type | default | meaning |", "|---|---|---|---|"]
    if not own:
        presets = ", ".join(MODEL_PRESETS)
        lines.append(f"| `{name}.preset` | one of {presets} | `released` | The preset of the network. |")
    meanings = _meanings(section)
    for key, annotation in _annotations(section):
        default = getattr(defaults, key)
        assert default is not PydanticUndefined
        meaning = meanings.get(key) or _SELF_EXPLANATORY[key]
        lines.append(f"| `{name}.{key}` | {_type(annotation)} | {_value(default)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _body(section: type[BaseModel]) -> list[ast.stmt]:
    definition = ast.parse(textwrap.dedent(inspect.getsource(section))).body[0]
    assert isinstance(definition, ast.ClassDef)
    return definition.body


def _annotations(section: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the name of each field and its annotation as it stands in the code."""
    for statement in _body(section):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, ast.unparse(statement.annotation)


def _meanings(section: type[BaseModel]) -> dict[str, str]:
    """Return the text below each field, which Python does not keep: it is read from the code."""
    found: dict[str, str] = {}
    body = _body(section)
    for statement, following in itertools.pairwise(body):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            value = following.value if isinstance(following, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found[statement.target.id] = _one_line(value.value)
    return found


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _type(annotation: str) -> str:
    """Return an annotation in words."""
    alternatives = [part.strip() for part in annotation.split(" | ")]
    return " or ".join("null" if part == "None" else _simple_type(part) for part in alternatives)


def _simple_type(annotation: str) -> str:
    if literal := re.fullmatch(r"Literal\[(.*)\]", annotation):
        return "one of " + literal[1].replace("'", "")
    if pair := re.fullmatch(r"tuple\[(\w+), (\w+)\]", annotation):
        return f"list of two: {_TYPES[pair[1]]}"
    if bounded := re.fullmatch(r"Annotated\[(\w+), Field\((.*)\)\]", annotation):
        words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
        bounds = [part.strip().split("=") for part in bounded[2].split(",")]
        limits = ", ".join(f"{words[name]} {_BOUNDS.get(value, value)}" for name, value in bounds)
        return f"{_TYPES[bounded[1]]} {limits}"
    return _TYPES[annotation]


def _value(value: Any) -> str:
    if value is None:
        return "`null`"
    text = value if isinstance(value, str) else json.dumps(list(value) if isinstance(value, tuple) else value)
    return f"`{text}`"


if __name__ == "__main__":
    sys.stdout.write(settings_page())
