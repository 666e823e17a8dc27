"""Reads how much of the machine this process may use: its control group's limits, of version 1 or 2.

A container sees all cores and all memory of its machine. What it may use of them is written in its control
group (cgroup) and in the groups around that one, each of which may set a lower limit. A system may also mount
both versions, with some controllers on each.

Sources: the kernel's `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/`, and `man 7 cgroups`.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def usable_cores(root: Path = ROOT) -> int:
    """Return how many cores this process may keep busy: its CPU quota rounded up, at most its CPU affinity.

    Args:
        root: the folder that holds `proc` and `sys`.
    """
    cores = len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def usable_memory(root: Path = ROOT) -> int:
    """Return how many bytes of memory this process may use: its limit, at most what the machine has."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = memory_limit(root)
    return installed if limit is None else min(installed, limit)


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return the seconds of a core that this process may use per second, or None if there is no limit."""
    quotas = []
    for folder in _groups("cpu", root):
        # Version 2 has one file, "max 100000" or "150000 100000". Version 1 has two, and -1 for no limit.
        used = _read(folder / "cpu.max").split() or [
            _read(folder / "cpu.cfs_quota_us"),
            _read(folder / "cpu.cfs_period_us"),
        ]
        quota, period = (_number(text) for text in used)
        if quota is not None and period is not None and quota > 0 and period > 0:
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(root: Path = ROOT) -> int | None:
    """Return how many bytes of memory this process may use before the kernel acts; None if unlimited."""
    # In version 1, no limit is a number near 2**63, which callers compare with the installed memory.
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    limits = [_number(_read(folder / name)) for folder in _groups("memory", root) for name in names]
    return min((limit for limit in limits if limit is not None), default=None)


def is_ended_as_a_whole(root: Path = ROOT) -> bool:
    """Return whether the kernel, when memory runs out, kills all processes of the group and not one of them.

    Kubernetes asks for that on version 2.
    """
    return any(_read(folder / "memory.oom.group") == "1" for folder in _groups("memory", root))


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folder of this process's group for one controller, and then those of the groups around it."""
    path, version = _own_path(controller, root)
    if path is None:
        return
    for mounted_path, mount in _mounts(controller, version, root):
        # A container may see its group's path on the host, while its own group is mounted as the top one.
        inside = path.relative_to(mounted_path) if path.is_relative_to(mounted_path) else PurePosixPath()
        folder = root / mount.relative_to("/") / inside
        yield folder
        for _ in inside.parts:
            folder = folder.parent
            yield folder
        return


def _own_path(controller: str, root: Path) -> tuple[PurePosixPath | None, int]:
    """Return the path of this process's group below the root of its hierarchy, and the cgroup version."""
    unified = None
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return PurePosixPath(path), 1
        if number == "0" and not controllers:
            unified = PurePosixPath(path)
    return unified, 2


def _mounts(controller: str, version: int, root: Path) -> Iterator[tuple[PurePosixPath, PurePosixPath]]:
    """Yield where a hierarchy is mounted: the path of the group that is the top one there, and the folder."""
    for line in _read(root / "proc/self/mountinfo").splitlines():
        fields, _, (kind, _, options) = (part.split() for part in line.partition(" - "))
        if kind == ("cgroup", "cgroup2")[version - 1] and (version == 2 or controller in options.split(",")):
            yield PurePosixPath(_unescaped(fields[3])), PurePosixPath(_unescaped(fields[4]))


def _unescaped(field: str) -> str:
    """Return a field of mountinfo, in which blanks and backslashes are written in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.lstrip("-").isdecimal() else None
