"""Running the blocks of a document as a reader does: in one folder, one after the other."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import yaml
from sybil.evaluators.python import pad

from tests.documentation.commands import commands, problems
from tests.documentation.documents import Block
from tests.places import DATA, ROOT

START_SECONDS = 600
BLOCK_SECONDS = 800
"""A block takes at most half a minute on an idle machine, and much longer on a busy one."""

PRELUDE = r"""
set -euo pipefail
[ ! -f "$STATE/variables" ] || source "$STATE/variables"
[ ! -f "$STATE/folder" ] || cd "$(cat "$STATE/folder")"
trap 'export -p > "$STATE/variables"; pwd > "$STATE/folder"' EXIT
make() { command make --directory "$CHECKOUT" --dry-run "$@" > "$STATE/make"; }
"""
"""Shell text that runs before a block. `make` would install packages, so its targets are only looked up."""

SERVER = re.compile(
    r"^((?:\w+=\S+ +)*)((?:python -m service|cvivit-service)\b(?! bench)(?!.*--check).*)$", re.MULTILINE
)
"""A line that starts a server, which runs until it is stopped. A reader gives it a second terminal."""


ADDRESS = re.compile(r"^([^#\n]*)\b(?:localhost|127\.0\.0\.1):8000\b", re.MULTILINE)
"""Where documents expect the server, outside comments. Tests give it a free port."""


class Reader:
    """Somebody who follows a document in a folder of their own, which looks like a checkout.

    Blocks share the folder, the shell's variables, the names of Python, and a server if one is started.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.state = folder / "state"
        self.state.mkdir()
        shutil.copytree(DATA, self.folder / "tests" / "data")
        for name in ("examples", "benchmarks"):
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.folder / name)
        binaries = self.folder / ".venv" / "bin"
        binaries.mkdir(parents=True)
        (binaries / "activate").write_text(f'PATH="{Path(sys.executable).parent}:$PATH"\n')
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.server: subprocess.Popen[bytes] | None = None
        self.log = self.state / "server.log"
        self.names: dict[str, Any] = {"__name__": "__main__"}

    def follow(self, block: Block) -> None:
        """Run or check a block. A failure fails the test and names the place of the block."""
        source = ADDRESS.sub(rf"\g<1>127.0.0.1:{self.port}", block.source)
        if source != block.source and self.server is None and block.language != "sh":
            self.serve("exec python -m service --model demo", block)
        match block.language:
            case "bash":
                self.shell(source, block)
            case "python":
                self.python(source, block)
            case "javascript":
                self.javascript(source, block)
            case "sh":
                wrong = [problem for words in commands(source) for problem in problems(words)]
                assert not wrong, f"{block}: {wrong}"
            case "json" if "..." not in source:
                json.loads(source)
            case "toml":
                tomllib.loads(source)
            case "yaml":
                list(yaml.safe_load_all(source))
            case "nginx":
                self.nginx(source, block)

    def shell(self, source: str, block: Block) -> None:
        """Run shell text. If it starts a server, the rest of the text runs once the server is ready."""
        line = SERVER.search(source)
        if line is None:
            if source.strip():
                self.run(["bash", "-c", PRELUDE + source], block)
            return
        self.shell(source[: line.start()], block)
        self.serve(f"{line[1]} exec {line[2]}", block)
        self.shell(source[line.end() :], block)

    def serve(self, command: str, block: Block) -> None:
        """Start a server in place of the previous one."""
        self.leave()
        with self.log.open("w") as log:
            self.server = subprocess.Popen(
                ["bash", "-c", PRELUDE + command], cwd=self.folder, env=self.environment, stderr=log
            )
        ends = time.monotonic() + START_SECONDS
        while not self.is_ready():
            assert self.server.poll() is None, f"{block}: the server ended:\n{self.log.read_text()[-4000:]}"
            assert time.monotonic() < ends, f"{block}: the server does not become ready"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Return whether the server answers that it takes work."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=10) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def javascript(self, source: str, block: Block) -> None:
        if shutil.which("node"):
            script = self.folder / "block.mjs"
            script.write_text(source)
            self.run(["node", str(script)], block)

    def nginx(self, source: str, block: Block) -> None:
        if not shutil.which("nginx"):
            return
        if not source.lstrip().startswith("server"):
            source = f"server {{ listen 127.0.0.1:{self.port + 1}; {source} }}"
        (self.state / "nginx.conf").write_text(
            f"pid {self.state}/nginx.pid; events {{}} http {{ access_log off; {source} }}"
        )
        logs = ["-e", str(self.state / "nginx.log"), "-c", str(self.state / "nginx.conf")]
        self.run(["nginx", "-t", "-p", str(self.state), *logs], block)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a reader's shell. Without a network, nothing is looked up on the Hub."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CVIVIT_")}
        return kept | {
            "CHECKOUT": str(ROOT),
            "CVIVIT_PORT": str(self.port),
            "HF_HUB_OFFLINE": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "STATE": str(self.state),
        }

    def run(self, command: list[str], block: Block) -> None:
        """Run a command of a block. Its output is part of the failure, if it fails."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, timeout=BLOCK_SECONDS, text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout[-4000:]}"

    def python(self, source: str, block: Block) -> None:
        """Run Python, and compare what it prints and what shapes it makes with the comments that say so."""
        before = Path.cwd()
        printed = StringIO()
        os.chdir(self.folder)
        try:
            code = compile(pad(source, block.line - 1), str(block.path), "exec", dont_inherit=True)
            with redirect_stdout(printed):
                exec(code, self.names)
        finally:
            os.chdir(before)
        said = re.findall(r"^print\(.*\)  # (.*)$", source, re.MULTILINE)
        lines = printed.getvalue().splitlines()
        if len(lines) == len(re.findall(r"^print\(", source, re.MULTILINE)) == len(said):
            assert lines == said, f"{block}: it printed {lines}"
        for name, kind, shape in re.findall(r"^(\w+) = .*  # (\w+) \(([\d, ]+)\)", source, re.MULTILINE):
            value = self.names[name]
            wanted = (kind, tuple(map(int, shape.split(","))))
            assert (str(value.dtype), value.shape) == wanted, f"{block}: {name}"

    def leave(self) -> None:
        """Stop the server, if there is one."""
        if self.server is not None:
            self.server.send_signal(signal.SIGTERM)
            self.server.wait(START_SECONDS)
            self.server = None


@contextmanager
def reader(folder: Path) -> Iterator[Reader]:
    """Yield a reader for a document, and stop their server in the end."""
    found = Reader(folder)
    try:
        yield found
    finally:
        found.leave()
