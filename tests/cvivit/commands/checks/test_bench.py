"""`cvivit bench`: its options and its output."""

from __future__ import annotations

import json

from tests.cvivit.commands.command import Command


def test_a_batch_has_a_clip(cvivit: Command) -> None:
    done = cvivit("bench", "--batch", "0")
    assert (done.status, done.out) == (2, "")
    assert "--batch" in done.err


def test_the_size_that_is_timed_is_named(cvivit: Command) -> None:
    options = ("--size", "demo", "--precision", "exact", "--batch", "1", "--repeats", "1", "--device", "cpu")
    done = cvivit("bench", *options)
    assert (done.status, done.err) == (0, "")
    assert done.out.startswith("The network of the demo size, with random weights\n")
    assert json.loads(cvivit("bench", *options, "--json").out)["size"] == "demo"
    assert "size of the released one" in cvivit("bench", "--help").out
