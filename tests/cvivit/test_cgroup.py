"""Limits of control groups, from files in the forms that systems write and from real groups."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cvivit.cgroup import (
    cpu_quota,
    is_ended_as_a_whole,
    memory_limit,
    usable_cores,
    usable_memory,
)
from tests.cgroups import control_group, inside
from tests.places import ROOT

V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n"
V1_MOUNTS = (
    "31 30 0:27 {root} /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    "32 30 0:28 {root} /sys/fs/cgroup/my\\040memory ro - cgroup cgroup rw,memory\n"
)


def system(root: Path, files: dict[str, str]) -> Path:
    """Write the files of a system's `proc` and `sys`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_container_of_version_2(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": V2_MOUNT.format(root="/"),
        "sys/fs/cgroup/cpu.max": "150000 100000\n",
        "sys/fs/cgroup/memory.max": "1073741824\n",
        "sys/fs/cgroup/memory.high": "max\n",
        "sys/fs/cgroup/memory.oom.group": "1\n",
    }
    root = system(tmp_path, files)
    assert cpu_quota(root) == 1.5
    assert memory_limit(root) == usable_memory(root) == 2**30
    assert is_ended_as_a_whole(root)
    assert usable_cores(root) in (1, 2)


def test_a_container_of_version_1_that_sees_its_path_on_the_host(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "5:memory:/docker/4f2a\n4:cpu,cpuacct:/docker/4f2a\n1:name=systemd:/\n",
        "proc/self/mountinfo": V1_MOUNTS.format(root="/docker/4f2a"),
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
        "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/my memory/memory.limit_in_bytes": "536870912\n",
    }
    root = system(tmp_path, files)
    assert cpu_quota(root) == 0.5
    assert usable_cores(root) == 1
    assert memory_limit(root) == 2**29
    assert not is_ended_as_a_whole(root)


def test_the_lowest_limit_of_the_groups_around_counts(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/system.slice/service\n",
        "proc/self/mountinfo": V2_MOUNT.format(root="/"),
        "sys/fs/cgroup/system.slice/service/cpu.max": "400000 100000\n",
        "sys/fs/cgroup/system.slice/service/memory.max": "max\n",
        "sys/fs/cgroup/system.slice/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/system.slice/memory.max": "2147483648\n",
        "sys/fs/cgroup/system.slice/memory.high": "1073741824\n",
    }
    root = system(tmp_path, files)
    assert cpu_quota(root) == 2.0
    assert memory_limit(root) == 2**30


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/\n", "proc/self/mountinfo": V2_MOUNT.format(root="/")},
        {"proc/self/cgroup": "0::/../../elsewhere\n", "proc/self/mountinfo": V2_MOUNT.format(root="/mine")},
        {
            "proc/self/cgroup": "5:memory:/\n4:cpu,cpuacct:/\n",
            "proc/self/mountinfo": V1_MOUNTS.format(root="/"),
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/my memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    ],
)
def test_without_a_limit_the_machine_counts(tmp_path: Path, files: dict[str, str]) -> None:
    root = system(tmp_path, files)
    assert cpu_quota(root) is None
    assert usable_cores(root) == usable_cores()
    assert usable_memory(root) >= usable_memory()


def test_a_real_group() -> None:
    with control_group("memory") as memory, control_group("cpu") as cpu:
        memory.limit_memory(300 * 2**20)
        cpu.limit_cores(1)
        code = "from cvivit.cgroup import *; print(usable_memory(), cpu_quota(), usable_cores())"
        done = subprocess.run(
            inside([sys.executable, "-c", code], memory, cpu),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.split() == [str(300 * 2**20), "1.0", "1"]
