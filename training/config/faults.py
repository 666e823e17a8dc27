"""What pydantic finds wrong with a configuration, in one line for the person who wrote it."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails

SHOWN_CHARACTERS = 60
"""How much of a wrong value an error repeats."""


def one_line(error: ValidationError) -> str:
    """Return every setting at fault with the reason, as `losses.lpip: unknown setting; ...`."""
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
            stages = fault["loc"] == ("stages",)
            example = "[{from = 2000, model.image_size = 128}]" if stages else '[1, 2] or ["a.tar", "b.tar"]'
            reason = f"must be a list, as in {example}"
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
