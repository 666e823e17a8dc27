"""Control groups that a test makes for the processes that it starts."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from cvivit.cgroup import _groups, _own_path

_numbers = itertools.count()


class ControlGroup:
    """One group of one controller, of cgroup version 1 or 2."""

    def __init__(self, folder: Path, version: int) -> None:
        self.folder = folder
        self.version = version

    def limit_memory(self, count: int) -> None:
        name = "memory.limit_in_bytes" if self.version == 1 else "memory.max"
        (self.folder / name).write_text(str(count))

    def used_memory(self) -> int:
        name = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        return int((self.folder / name).read_text())

    def anonymous_memory(self) -> int:
        """Return the used memory without cached files, which the kernel would give up first."""
        name = "rss" if self.version == 1 else "anon"
        fields = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return int(fields[name])

    def limit_cores(self, count: float) -> None:
        quota = f"{count * 100_000:.0f}"
        if self.version == 1:
            (self.folder / "cpu.cfs_period_us").write_text("100000")
            (self.folder / "cpu.cfs_quota_us").write_text(quota)
        else:
            (self.folder / "cpu.max").write_text(f"{quota} 100000")


def inside(command: Sequence[str], *groups: ControlGroup) -> list[str]:
    """Return a command that moves itself into some groups and then becomes `command`.

    A shell does this, and not a function that runs between fork and exec. Python code is not safe there if
    the process has threads, and the process of the tests has some.
    """
    files = [str(group.folder / "cgroup.procs") for group in groups]
    count = len(files)
    script = (
        f'for file in "${{@:1:{count}}}"; do echo $$ > "$file" || exit 99; done; exec "${{@:{count + 1}}}"'
    )
    return ["bash", "-c", script, "bash", *files, *command]


@contextmanager
def control_group(controller: str) -> Iterator[ControlGroup]:
    """Make a group below that of this process, and remove it at the end. Skip the test if that fails."""
    own = next(_groups(controller, Path("/")), None)
    if own is None:
        pytest.skip(f"there is no cgroup controller {controller} here")
    _, version = _own_path(controller, Path("/"))
    folder = own / f"cvivit-test-{os.getpid()}-{next(_numbers)}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"a test may make no control group here: {error}")
    try:
        if not any(folder.glob(f"{controller}.*")):
            pytest.skip(f"the cgroup controller {controller} is not passed on to groups below this one")
        yield ControlGroup(folder, version)
    finally:
        # Processes that have just been killed may still be in it.
        for _ in range(100):
            with suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.05)
