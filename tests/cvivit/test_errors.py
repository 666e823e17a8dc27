"""Errors as objects: they cross processes with all that they hold."""

from __future__ import annotations

import copy
import pickle

import pytest

from cvivit.errors import CViViTError, NonFiniteLossError, TooManyTokensError, VideoTooLargeError


@pytest.mark.parametrize(
    "error",
    [
        VideoTooLargeError("too long", limit_name="max_seconds", limit=60, actual=61.5),
        NonFiniteLossError("infinite", keys=("a", "b")),
        TooManyTokensError("too many", limit=3, actual=4),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_to_another_process(error: CViViTError) -> None:
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert vars(twin) == vars(error)
