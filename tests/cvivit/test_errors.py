"""Errors keep all that they hold when they are sent to another process."""

from __future__ import annotations

import pytest

from cvivit import errors
from cvivit.errors import CViViTError, TooManyTokensError, VideoTooLargeError
from tests.error_trees import assert_survives_copying, declared, drawn


@pytest.mark.parametrize(
    "error",
    [
        VideoTooLargeError("too long", limit_name="max_seconds", limit=60, actual=61.5),
        TooManyTokensError("too many", limit=3, actual=4),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_way_to_another_process(error: CViViTError) -> None:
    assert_survives_copying(error)


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    assert drawn(errors) == declared(errors)
