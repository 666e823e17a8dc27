"""Read the configuration of a run from presets, files and `--set`, and save the result."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from cvivit.errors import ConfigError
from training.config.schema import TrainingConfig

SHOWN_CHARACTERS = 60
"""How much of a wrong value an error repeats."""
RESOLVED_NAME = "config.json"
"""Name of the resolved configuration in the folder of a run."""


def preset_names() -> list[str]:
    """Return the presets that ship with the package."""
    folder = resources.files("training") / "presets"
    names = (entry.name for entry in folder.iterdir())
    return sorted(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Return the configuration that a preset or a file describes, with overrides on top.

    Args:
        source: the name of a preset, the path of a `.toml` or `.json` file, or the folder of a run, whose
            saved configuration is taken. A file may build on a preset with a top-level `preset = "NAME"`.
        overrides: `a.b=value`, applied in order. Values are TOML or `null`, which TOML lacks. Text that is
            neither is taken as a string.

    Raises:
        ConfigError: there is no such preset, file or run, it is not TOML or JSON, it has an unknown key, or a
            value does not fit.
    """
    values = _read(source)
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"--set {override}: not of the form key=value")
        _assign(values, key.strip(), _value(text.strip()))
    try:
        return TrainingConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from None


def save_config(config: TrainingConfig, directory: Path) -> Path:
    """Write every setting, defaults included, to `directory/config.json`, and return its path."""
    path = directory / RESOLVED_NAME
    partial = path.with_name(path.name + ".partial")
    partial.write_text(config.model_dump_json(indent=2) + "\n", encoding="utf-8")
    partial.replace(path)
    return path


def _read(source: str | Path) -> dict[str, Any]:
    path = Path(source)
    if path.is_dir() and str(source) not in preset_names():
        path /= RESOLVED_NAME
        if not path.is_file():
            raise ConfigError(f"{source}: the folder holds no {RESOLVED_NAME} of a run")
    if isinstance(source, str) and source in preset_names():
        text = (resources.files("training") / "presets" / f"{source}.toml").read_text(encoding="utf-8")
    else:
        try:
            text = path.read_text(encoding="utf-8-sig")  # Windows begins files with a mark
        except FileNotFoundError:
            presets = ", ".join(preset_names())
            raise ConfigError(
                f"{source}: there is no such preset, configuration file or run (the presets are {presets})"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: cannot be read ({error})") from None
    try:
        values: Any = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{source}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{source}: not a table of settings")
    base = values.pop("preset", None)
    if base is None:
        return values
    if base not in preset_names() or base == source:
        raise ConfigError(f"{source}: preset {base!r} is not one of {', '.join(preset_names())}")
    return _merge(_read(base), values)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both_tables = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(below, value) if both_tables else value  # type: ignore[arg-type]
    return merged


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, name = key.split(".")
    table = values
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key}: {section} is a value, not a section")
    table[name] = value


def _value(text: str) -> Any:
    if text == "null":  # as JSON and the saved configuration have it
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _one_line(error: ValidationError) -> str:
    """Name every setting at fault with the reason, as `losses.lpip: unknown setting; ...`."""
    faults = []
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"] if not isinstance(part, int))
        reason = _reason(fault)
        faults.append(f"{where}: {reason}" if where else reason)
    return "; ".join(dict.fromkeys(faults))


def _reason(fault: ErrorDetails) -> str:
    """Say what is wrong with one setting in the words of somebody who writes TOML, which has no tuples."""
    match fault["type"]:
        case "extra_forbidden":
            return "unknown setting"
        case "value_error":
            return fault["msg"].removeprefix("Value error, ").replace("\n", " ")
        case "tuple_type":
            reason = 'must be a list, as in [1, 2] or ["a.tar", "b.tar"]'
        case "missing" | "too_short" | "too_long" if (
            isinstance(fault["loc"][-1], int) or "too" in fault["type"]
        ):
            reason = "must be a list of two"
        case "model_type" | "model_attributes_type" | "dict_type":
            reason = "is a section of settings, and not a value"
        case _:
            reason = fault["msg"].replace("Input should be", "must be").replace("\n", " ")
    given = repr(fault["input"])
    return f"{reason}, not {given if len(given) <= SHOWN_CHARACTERS else given[:SHOWN_CHARACTERS] + '...'}"
