"""The base class of the configuration's sections, and the types of their fields."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from cvivit.config import CViViTConfig

_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")
"""Height and width as `prepare --size` takes them."""

MODEL_PRESETS = ("released", "paper", "lucidrains", "demo")


def _network(value: Any) -> Any:
    """Read `preset = "demo"` and the fields given beside it as one network. Sizes may be `HEIGHTxWIDTH`."""
    if not isinstance(value, dict):
        return value
    fields = dict(value)
    preset = fields.pop("preset", "released")
    for name in ("image_size", "patch_size"):
        if isinstance(fields.get(name), str) and (pair := _SIZE.fullmatch(fields[name].strip())):
            fields[name] = int(pair[1]), int(pair[2])
    if preset not in MODEL_PRESETS:
        raise ValueError(f"preset: {preset!r} is not one of {', '.join(MODEL_PRESETS)}")
    return getattr(CViViTConfig, preset)(**fields)


def _as_tuple(value: Any) -> Any:
    """Read one name or pattern as a list of one."""
    return (value,) if isinstance(value, str) else value


Part = Literal["encoder", "quantizer", "decoder"]
"""The parts of the network that can be frozen."""


def _ordered(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return parts without repeats, in one order, so that lists of the same parts are equal."""
    return tuple(sorted(set(parts), key=get_args(Part).index))


Patterns = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
Trackers = Annotated[tuple[Literal["tensorboard", "wandb", "trackio"], ...], BeforeValidator(_as_tuple)]
Freezable = Annotated[tuple[Part, ...], BeforeValidator(_as_tuple), AfterValidator(_ordered)]
NetworkConfig = Annotated[CViViTConfig, BeforeValidator(_network)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class Section(BaseModel):
    """A group of settings. It is frozen and keyword-only, and refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
