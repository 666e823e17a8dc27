"""Errors as objects: they cross processes with all that they hold."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from cvivit.errors import CViViTError
from training import errors
from training.errors import NonFiniteLossError, TooManyBadSamplesError


@pytest.mark.parametrize(
    "error",
    [
        NonFiniteLossError("infinite", keys=("a", "b")),
        TooManyBadSamplesError("too many", limit=3, actual=4),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_to_another_process(error: CViViTError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def drawn() -> dict[str, str | None]:
    """Return the names in the drawing of the module's docstring, each with the name that it hangs under."""
    found: dict[str, str | None] = {}
    trail: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r"    ([│├└─ ]*)(\w+(?:Error|Interrupted))\b", line):
            depth, name = len(match[1]), match[2]
            while trail and trail[-1][0] >= depth:
                trail.pop()
            found[name] = trail[-1][1] if trail else None
            trail.append((depth, name))
    return found


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    classes = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
    declared = {
        name: kind.__bases__[0].__name__ for name, kind in classes.items() if issubclass(kind, CViViTError)
    }
    assert drawn() == declared | {"CViViTError": None}
