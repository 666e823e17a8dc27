"""Files that are replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cvivit.files import remove_abandoned, replacing, sibling
from tests.places import ROOT


def test_a_block_that_raises_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half of the ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_is_there_until_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_of_two_writers_at_once_the_last_wins_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    both_write = threading.Barrier(2)

    def write(content: bytes) -> None:
        with replacing(path) as file:
            file.write(content)
            both_write.wait()

    writers = [threading.Thread(target=write, args=(byte * 100_000,)) for byte in (b"a", b"b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "missing" / "file"):
        raise AssertionError("the block must not run")


def test_an_error_names_the_path_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "file"
    with pytest.raises(FileNotFoundError) as error, replacing(path):
        raise AssertionError("the block must not run")
    assert error.value.filename == str(path)


def test_a_full_disk_names_the_path_too(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left") as error, replacing(tmp_path / "file"):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert error.value.filename == str(tmp_path / "file")
    assert not list(tmp_path.iterdir())


def test_a_link_stays_and_what_it_points_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path, target = tmp_path / "link", tmp_path / "elsewhere" / "file"
    path.symlink_to(target)
    for content in (b"new", b"newer"):
        with replacing(path) as file:
            file.write(content)
        assert path.is_symlink()
        assert target.read_bytes() == content


def test_permissions_stay(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch(mode=0o600)
    with replacing(path) as file:
        file.write(b"new")
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_no_file_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with replacing(pipe) as file:
        file.write(b"new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(IsADirectoryError), replacing(tmp_path):
        raise AssertionError("the block must not run")


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    code = "import sys, os; from pathlib import Path; from cvivit.files import sibling; "
    code += "print(sibling(Path(sys.argv[1]) / 'x').name)"
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).stdout.strip()
    (tmp_path / "below").mkdir()
    abandoned, ours = tmp_path / "below" / ended, sibling(tmp_path / "x")
    foreign = tmp_path / ".cvivit-00000000-1-0123456789abcdef.tmp"
    for path in (abandoned, ours, foreign, tmp_path / "x.tmp"):
        path.touch()
    remove_abandoned(tmp_path)
    assert not abandoned.exists()
    assert ours.exists()
    assert foreign.exists()
    assert (tmp_path / "x.tmp").exists()
