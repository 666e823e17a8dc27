"""Read the `config.json` beside weights. This needs no torch, so that a caller may look before loading."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from cvivit.config import CViViTConfig
from cvivit.errors import ConfigError, WeightsNotFoundError

MAX_CONFIG_BYTES = 1024 * 1024
TOKENS_OF = "tokens_of"
"""The field of `config.json` that lists other weights whose tokens these weights decode."""
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Description(CViViTConfig):
    """All that a `config.json` holds: the network, and what the exporter states about its weights."""

    tokens_of: tuple[Fingerprint, ...] = ()


def read_config(path: Path) -> CViViTConfig:
    """Read the network that a `config.json` describes.

    Raises:
        WeightsNotFoundError: the file cannot be read.
        ConfigError: the file is not JSON, or describes no network. It names the first field at fault.
    """
    return read_description(path)[0]


def read_description(path: Path) -> tuple[CViViTConfig, tuple[str, ...]]:
    """Return the network of a `config.json`, and the fingerprints that it lists as `tokens_of`.

    Raises:
        WeightsNotFoundError, ConfigError: as `read_config` raises them.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
        if len(text) > MAX_CONFIG_BYTES:
            raise ConfigError(f"{path.name} is larger than {MAX_CONFIG_BYTES} bytes")
        described = _Description.model_validate_json(text)
    except OSError as error:
        raise WeightsNotFoundError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{path.name}: {ascii(field)[1:-1] + ': ' if field else ''}{first['msg']}"
        ) from error
    fields: dict[str, Any] = described.model_dump(exclude={TOKENS_OF})
    return CViViTConfig.model_validate(fields), described.tokens_of
