"""Run commands as a container would: in a folder as the root, with mounts and process ids of their own."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TMPFS = "mode=1777,nosuid,nodev,noexec"
"""How engines mount a `--tmpfs`."""

START_SECONDS = 20
"""Time for a command's own process to appear in its namespaces."""


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A file or folder of this machine that the command can read."""

    source: Path
    target: Path

    @classmethod
    def parse(cls, text: str) -> Bind:
        """Read `SOURCE` or `SOURCE:TARGET`."""
        source, _, target = text.partition(":")
        return cls(source=Path(source).resolve(), target=Path(target or source))


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """The environment that a command runs in.

    Attributes:
        root: the folder that becomes `/`.
        environment: all environment variables of the command.
        directory: the working directory inside the root.
        user: the uid and gid. A user other than root also loses every capability, and cannot gain any.
        binds: files and folders of this machine that are visible inside.
        volumes: folders that stay writable where the root is not.
        read_only: whether the root is mounted read-only, with a tmpfs on /tmp.
    """

    root: Path
    environment: Mapping[str, str]
    directory: str = "/"
    user: tuple[int, int] = (0, 0)
    binds: Sequence[Bind] = ()
    volumes: Sequence[str] = ()
    read_only: bool = False

    def run(self, command: Sequence[str]) -> None:
        """Run a command to its end. Raises subprocess.CalledProcessError if it fails."""
        subprocess.run(self._command(command), check=True, stdin=subprocess.DEVNULL)

    def start(self, command: Sequence[str]) -> Running:
        """Start a command as process 1 of its own namespace, and return it.

        Raises:
            TimeoutError: the namespaces were not there in time.
        """
        outer = subprocess.Popen(self._command(command), stdin=subprocess.DEVNULL)
        return Running(sandbox=self, outer=outer, pid=_child(outer))

    def _command(self, command: Sequence[str]) -> list[str]:
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
        script = "\n".join(["set -eu", *self._mounts(), f"exec {shlex.join(self.inside(command))}"])
        return [*namespaces, "sh", "-c", script]

    def _mounts(self) -> list[str]:
        root = self.root.resolve()
        lines = [["mount", "--bind", root, root]]
        lines += [["mount", "--rbind", path, f"{root}{path}"] for path in ("/dev", "/sys")]
        lines.append(["mount", "-t", "proc", "proc", f"{root}/proc"])
        for bind in self.binds:
            target = root / bind.target.relative_to("/")
            _make_target(bind.source, target)
            lines.append(["mount", "--bind", "-o", "ro", bind.source, target])
        if self.read_only:
            lines.append(["mount", "-t", "tmpfs", "-o", TMPFS, "tmpfs", root / "tmp"])
            lines += [["mount", "--bind", f"{root}{name}", f"{root}{name}"] for name in self.volumes]
            lines.append(["mount", "-o", "remount,bind,ro", root])
        return [shlex.join(str(word) for word in line) for line in lines]

    def inside(self, command: Sequence[str]) -> list[str]:
        """Return the command as it must be called once the mounts are made."""
        uid, gid = self.user
        privileges = []
        if uid:
            privileges = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--no-new-privs",
                          "--inh-caps=-all", "--bounding-set=-all"]  # fmt: skip
        variables = [f"{name}={value}" for name, value in self.environment.items()]
        enter = f'cd {shlex.quote(self.directory)} && exec "$@"'
        return ["chroot", str(self.root.resolve()), *privileges, "env", "-i", *variables,
                "sh", "-c", enter, "sh", *command]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running command. `pid` is its process id on this machine."""

    sandbox: Sandbox
    outer: subprocess.Popen[bytes]
    pid: int

    def join(self, command: Sequence[str]) -> int:
        """Run another command in its namespaces, as its user, and return the exit code."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--"]
        return subprocess.run([*enter, *self.sandbox.inside(command)], check=False).returncode

    def status(self) -> dict[str, str]:
        """Return the kernel's account of its process: `Uid`, `NoNewPrivs`, `CapEff` and so on."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def stop(self, number: int, timeout_seconds: float) -> int:
        """Send a signal and return the exit code. Raises subprocess.TimeoutExpired."""
        os.kill(self.pid, number)
        return self.outer.wait(timeout_seconds)

    def kill(self) -> None:
        """Kill it and all that it started, if it still runs. A change of user cancels `--kill-child`."""
        if self.outer.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self.outer.wait()


def _make_target(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    elif not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()


def _child(outer: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.01)
    outer.kill()
    raise TimeoutError("the command's process did not appear")
