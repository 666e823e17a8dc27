"""Read the configuration of a run from presets, files and `--set`, and save the result."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cvivit.errors import ConfigError
from training.config.faults import one_line
from training.config.schema import TrainingConfig

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
        raise ConfigError(one_line(error)) from None


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
