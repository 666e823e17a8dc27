"""`cvivit info`: what it prints."""

from __future__ import annotations

import json

from tests.cvivit.commands.command import Command


def test_info(cvivit: Command) -> None:
    done = cvivit("info", "-m", "weights")
    assert json.loads(done.out)["grid"] == [3, 4, 4]
