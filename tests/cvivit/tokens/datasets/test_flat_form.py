"""Joining the shards of the flat form continues where it was killed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from cvivit.tokens.datasets import flat_form
from tests.cvivit.tokens.datasets.made import made_sample

NAMES = (flat_form.TOKENS_NAME, flat_form.INDEX_NAME, flat_form.LINES_NAME)
STEPS = 60


class _Killed(BaseException):
    pass


def _shards(work: Path) -> list[Path]:
    paths = [work / f"{number}.flat" for number in range(4)]
    for number, path in enumerate(paths):
        made = [made_sample(2 * number), made_sample(2 * number + 1)]
        flat_form.write_shard(path, [] if number == 2 else made)
    return paths


@pytest.mark.parametrize("call", ["unlink", "fsync", "replace", "truncate"])
def test_a_join_that_was_killed_is_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (tmp_path / "plain").mkdir()
    shards = _shards(tmp_path / "plain" / ".work")
    flat_form.join_shards(tmp_path / "plain", shards, work=tmp_path / "plain" / ".work")
    expected = {name: (tmp_path / "plain" / name).read_bytes() for name in NAMES}
    for steps in range(STEPS):
        folder = tmp_path / f"killed-{steps}"
        folder.mkdir()
        shards = _shards(folder / ".work")
        finished = _joined_before_kill(folder, shards, call, steps, monkeypatch)
        flat_form.join_shards(folder, shards, work=folder / ".work")
        assert {name: (folder / name).read_bytes() for name in NAMES} == expected, steps
        shutil.rmtree(folder)
        if finished:
            return
    pytest.fail(f"{STEPS} calls were not enough")


def _joined_before_kill(
    folder: Path, shards: list[Path], call: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> bool:
    """Join, and simulate a kill after `steps` calls of `call`. Return whether joining ended before that."""
    left = [steps]
    real = getattr(os, call)

    def counted(*args: Any, **options: Any) -> Any:
        if not left[0]:
            raise _Killed
        left[0] -= 1
        return real(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, counted)
        try:
            flat_form.join_shards(folder, shards, work=folder / ".work")
        except _Killed:
            return False
    return True
