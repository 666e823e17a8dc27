"""Checks for the errors of every package: they survive copying, and the docstring draws their tree."""

from __future__ import annotations

import copy
import pickle
import re
from types import ModuleType

from cvivit.errors import CViViTError


def assert_survives_copying(error: CViViTError) -> None:
    """Check that a pickled and a copied error have the type, the message and the fields of the original."""
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)


def drawn(errors: ModuleType) -> dict[str, str | None]:
    """Return the classes in the tree that a module's docstring draws, each with the class above it."""
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


def declared(errors: ModuleType) -> dict[str, str | None]:
    """Return the errors that a module holds, each with the name of its base class, and the root with none."""
    found: dict[str, str | None] = {
        name: kind.__bases__[0].__name__
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, CViViTError)
    }
    return found | {"CViViTError": None}
