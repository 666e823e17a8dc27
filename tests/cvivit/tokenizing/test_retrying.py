"""Sources that failed once are tried again, and the files are those of a run in which nothing failed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from cvivit.errors import NoDataError, OutputMismatchError, ShardError, TooManyFailedError
from cvivit.inputs import Source, open_source
from cvivit.tokenizing import duplicates
from cvivit.tokenizing.retrying import ROUND_NAME
from cvivit.tokens import TokenDataset
from cvivit.tokens.datasets.manifest import Form
from tests.cvivit.tokenizing.made_up import FORMS, MadeUp, made_up
from tests.places import ROOT

COUNT = 10
"""Sources: shards of 4, 4 and 2."""
DOWN = ("02.mp4", "03.mp4", "06.mp4")
OPTIONS: list[dict[str, Any]] = [{}, {"windows": 2}, {"windows": 2, "drop_last": True}, {"overlap": 1}]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files in place of videos, most of them with captions; two have the same contents."""
    folder = tmp_path_factory.mktemp("films")
    for number in range(COUNT):
        (folder / f"{number:02d}.mp4").write_text(f"video {2 if number == 5 else number}")
        if number % 3:
            (folder / f"{number:02d}.txt").write_text(f"caption é {number}\n")
        if number == 4:
            (folder / "04.json").write_text(json.dumps({"weight": 0.1, "tags": ["a", None]}))
    return folder


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("options", "max_failed"), [(OPTIONS[0], "1"), (OPTIONS[1], "2"), (OPTIONS[2], "3"), (OPTIONS[3], "2")]
)
def test_an_outage_leaves_no_trace(
    films: Path, tmp_path: Path, form: Form, options: dict[str, Any], max_failed: str
) -> None:
    whole = made_up(films, tmp_path / "whole", MadeUp(), form=form, **options)
    outage = MadeUp(DOWN)
    passes = int(max_failed) < len(DOWN)
    with pytest.raises(TooManyFailedError, match="--retry-failed tries") if passes else nullcontext():
        made_up(films, tmp_path / "out", outage, form=form, max_failed=max_failed, **options)
    again = MadeUp()
    manifest = made_up(films, tmp_path / "out", again, form=form, retry_failed=True, **options)
    assert manifest == whole
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    # What could be used is not encoded again, and what was never reached is encoded once.
    used = set(outage.asked) - set(DOWN)
    assert again.asked == [f"{n:02d}.mp4" for n in range(COUNT) if f"{n:02d}.mp4" not in used]
    TokenDataset(tmp_path / "out", check=True)


@pytest.mark.parametrize("form", FORMS)
def test_a_finished_dataset_can_be_read_until_the_new_shards_are_whole(
    films: Path, tmp_path: Path, form: Form
) -> None:
    made_up(films, tmp_path / "whole", MadeUp(), form=form)
    made_up(films, tmp_path / "out", MadeUp(DOWN), form=form, max_failed="50%")
    before = digests(tmp_path / "out")

    def read() -> None:
        assert len(TokenDataset(tmp_path / "out", check=True)) == COUNT - len(DOWN)

    with pytest.raises(TooManyFailedError):
        made_up(films, tmp_path / "out", MadeUp(DOWN, read), form=form, retry_failed=True, max_failed="1")
    read()
    made_up(films, tmp_path / "out", MadeUp(), form=form)  # without new tries, it is left as it is
    assert digests(tmp_path / "out") == before
    again = MadeUp((), read)
    made_up(films, tmp_path / "out", again, form=form, retry_failed=True)
    assert again.asked == list(DOWN)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_files_that_were_not_there_may_come_back(films: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(films, tmp_path / "films")
    table = tmp_path / "table.csv"
    table.write_text("path\n" + "".join(f"{folder}/{number:02d}.mp4\n" for number in range(COUNT)))
    away = tmp_path / "away"
    away.mkdir()
    beside = [path for name in DOWN for path in folder.glob(f"{Path(name).stem}.*")]
    down = [f"films/{name}" for name in DOWN]
    made_up(table, tmp_path / "whole", MadeUp())
    for path in beside:
        shutil.move(path, away)
    with pytest.raises(TooManyFailedError):
        made_up(table, tmp_path / "out", MadeUp(down), max_failed="2")
    (folder / "08.mp4").rename(away / "08.mp4")
    with pytest.raises(
        OutputMismatchError, match=r"differs in inputs: 4 of them cannot be found now, such as"
    ):
        made_up(table, tmp_path / "out", MadeUp(), retry_failed=True)
    shutil.copytree(away, folder, dirs_exist_ok=True)
    again = MadeUp()
    made_up(table, tmp_path / "out", again, retry_failed=True)
    assert set(down) < set(again.asked)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")
    (folder / "02.mp4").write_text("another")
    with pytest.raises(OutputMismatchError, match="differs in inputs: choose another folder"):
        made_up(table, tmp_path / "out", MadeUp(), retry_failed=True)


@pytest.mark.parametrize("form", FORMS)
def test_names_that_are_no_text_may_fail_too(tmp_path: Path, form: Form) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    names = [os.fsdecode(name) for name in (b"a\xff.mp4", b"b\n.mp4", "ü.mp4".encode(), b"z.mp4")]
    for name in names:
        (folder / name).write_text(name.encode(errors="replace").decode())
    down = MadeUp(names[:3])
    manifest = made_up(folder, tmp_path / "out", down, form=form, max_failed="3")
    assert manifest == TokenDataset(tmp_path / "out", check=True).manifest
    assert [one.source for one in manifest.skipped] == [str(folder / name) for name in names[:3]]
    assert "ü".encode() in (tmp_path / "out" / "manifest.json").read_bytes()
    made_up(folder, tmp_path / "out", MadeUp(), form=form, retry_failed=True)
    made_up(folder, tmp_path / "whole", MadeUp(), form=form)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_what_fails_again_counts_and_is_listed(films: Path, tmp_path: Path) -> None:
    made_up(films, tmp_path / "out", MadeUp(DOWN), max_failed="3")
    for _ in range(2):
        again = MadeUp(DOWN[1:])
        manifest = made_up(films, tmp_path / "out", again, retry_failed=True, max_failed="2")
        assert [Path(one.source).name for one in manifest.skipped] == list(DOWN[1:])
    assert again.asked == list(DOWN[1:])
    assert manifest == made_up(films, tmp_path / "other", MadeUp(DOWN[1:]), max_failed="2")
    assert digests(tmp_path / "out") == digests(tmp_path / "other")


def test_nothing_is_done_where_nothing_failed(films: Path, tmp_path: Path) -> None:
    made_up(films, tmp_path / "out", MadeUp(), windows=3, drop_last=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    again = MadeUp()
    manifest = made_up(films, tmp_path / "out", again, windows=3, drop_last=True, retry_failed=True)
    assert {one.reason for one in manifest.skipped} == {"too_short"}
    assert not again.asked
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert {path for path in before if before[path] != after[path]} <= {tmp_path / "out" / ".lock"}


@pytest.mark.parametrize("form", FORMS)
def test_everything_may_have_failed(films: Path, tmp_path: Path, form: Form) -> None:
    names = [f"{number:02d}.mp4" for number in range(COUNT)]
    for again in (False, True):
        with pytest.raises(NoDataError, match=r"none of 10 inputs could be used .*; --retry-failed tries"):
            made_up(films, tmp_path / "out", MadeUp(names), form=form, retry_failed=again, max_failed="100%")
    encode = MadeUp()
    made_up(films, tmp_path / "out", encode, form=form, retry_failed=True)
    assert encode.asked == names
    made_up(films, tmp_path / "whole", MadeUp(), form=form)
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


@pytest.mark.parametrize("finished", [False, True])
def test_a_source_that_can_be_read_again_has_its_duplicates(
    films: Path, tmp_path: Path, finished: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(films, tmp_path / "whole", MadeUp(), deduplicate=True)

    def unreachable(source: Source) -> AbstractContextManager[str]:
        if source.name in DOWN:
            raise OSError(errno.EIO, "Input/output error")
        return open_source(source)

    with monkeypatch.context() as outage:
        outage.setattr(duplicates, "open_source", unreachable)
        try:
            limit = "3" if finished else "2"
            made_up(films, tmp_path / "out", MadeUp(DOWN), deduplicate=True, max_failed=limit)
        except TooManyFailedError:
            assert not finished
    made_up(films, tmp_path / "out", MadeUp(), deduplicate=True, retry_failed=True)
    assert [Path(one.source).name for one in TokenDataset(tmp_path / "out").manifest.duplicates] == ["05.mp4"]
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_shard_of_an_unfinished_dataset_that_was_damaged_is_made_from_scratch(
    films: Path, tmp_path: Path
) -> None:
    with pytest.raises(TooManyFailedError):
        made_up(films, tmp_path / "out", MadeUp(DOWN), max_failed="2")
    shard = tmp_path / "out" / "tokens-000000.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    made_up(films, tmp_path / "out", MadeUp(), retry_failed=True)
    made_up(films, tmp_path / "whole", MadeUp())
    assert digests(tmp_path / "out") == digests(tmp_path / "whole")


def test_a_finished_dataset_that_is_damaged_is_an_error(films: Path, tmp_path: Path) -> None:
    made_up(films, tmp_path / "out", MadeUp(DOWN), max_failed="3")
    shard = tmp_path / "out" / "tokens-000002.tar"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(ShardError, match=r"tokens-000002\.tar: differs from its checksum"):
        made_up(films, tmp_path / "out", MadeUp(), retry_failed=True)


def test_another_dataset_is_refused(films: Path, tmp_path: Path) -> None:
    made_up(films, tmp_path / "out", MadeUp(DOWN), max_failed="3")
    with pytest.raises(OutputMismatchError, match="differs in windows"):
        made_up(films, tmp_path / "out", MadeUp(), retry_failed=True, windows=2)


def test_a_round_that_was_killed_tries_what_fails_for_good_once(films: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    with pytest.raises(TooManyFailedError):
        made_up(films, tmp_path / "out", MadeUp(DOWN), max_failed="2")

    def kill() -> None:
        if len(second.asked) == 3:
            shutil.copytree(tmp_path / "out", tmp_path / "killed")
            raise Killed

    second = MadeUp(DOWN[:1], kill)
    with pytest.raises(Killed):
        made_up(films, tmp_path / "out", second, retry_failed=True, max_failed="2")
    assert not (tmp_path / "out" / ".work" / ROUND_NAME).exists()
    for folder, expected in (("killed", []), ("out", ["02.mp4"])):
        third = MadeUp()
        made_up(films, tmp_path / folder, third, retry_failed=True, max_failed="2")
        assert [name for name in third.asked if name in DOWN[:1]] == expected


@pytest.mark.parametrize("finished", [False, True], ids=["unfinished", "finished"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", [11, pytest.param(1, marks=(pytest.mark.slow, pytest.mark.timeout(600)))])
def test_a_kill_before_any_change_of_a_file_costs_nothing(
    films: Path, tmp_path: Path, form: Form, finished: bool, step: int
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    made_up(films, whole, MadeUp(), form=form, windows=2)
    try:
        made_up(films, out, MadeUp(DOWN), form=form, windows=2, max_failed="3" if finished else "2")
    except TooManyFailedError:
        assert not finished
    old = digests(out)
    done = subprocess.run(
        [sys.executable, "-m", "tests.cvivit.tokenizing.made_up", str(films), str(out), form, str(step)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    moments = int(done.stdout)
    assert moments > 20
    for number in range(0, moments + 1, step):
        killed = tmp_path / f"out-{number}"
        if finished:  # the old dataset or the new one, once a run without new tries has cleared up
            copy = shutil.copytree(killed, tmp_path / f"plain-{number}")
            made_up(films, copy, MadeUp(), form=form, windows=2)
            assert digests(copy) in (old, digests(whole))
        made_up(films, killed, MadeUp(), form=form, windows=2, retry_failed=True)
        assert digests(killed) == digests(whole), number
