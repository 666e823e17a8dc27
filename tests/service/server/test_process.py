"""The process: its command line, its signals, its exit codes, what it says when it cannot start."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import main
from tests.places import ROOT

PATIENCE_SECONDS = 120


def environment(**settings: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CVIVIT_")}
    return (
        kept
        | {"OMP_NUM_THREADS": "1"}
        | {f"CVIVIT_{name.upper()}": value for name, value in settings.items()}
    )


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env=environment(**settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is() -> Iterator[None]:
    digits = sys.get_int_max_str_digits()
    yield
    sys.set_int_max_str_digits(digits)


class Running:
    """A server process, its address and the lines it has logged."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self.url = ""
        assert process.stderr is not None
        for line in process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == "serving":
                self.url = self.lines[-1]["url"]
                break
        assert self.url, self.lines

    def get(self, path: str) -> int:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE_SECONDS) as response:
            return int(response.status)

    def end(self) -> int:
        """Wait for the end and take in what was logged until then."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        self.lines += [json.loads(line) for line in errors.splitlines()]
        return self.process.returncode


@contextmanager
def running(tiny_weights: Path, **settings: str) -> Iterator[Running]:
    arguments = [sys.executable, "-m", "service", "--model", str(tiny_weights), "--port", "0"]
    with subprocess.Popen(
        arguments,
        cwd=ROOT,
        env=environment(precision="exact", device="cpu", **settings),
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Running(process)
        finally:
            process.kill()


@pytest.fixture
def start(tiny_weights: Path) -> Iterator[Callable[..., Running]]:
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(running(tiny_weights, **settings))


def test_a_signal_ends_the_process_well_and_each_request_is_a_line(start: Callable[..., Running]) -> None:
    server = start()
    assert server.get("/readyz") == 200
    request = urllib.request.Request(server.url + "/livez", headers={"x-request-id": "mine-1"})
    urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
    server.process.send_signal(signal.SIGTERM)
    assert server.end() == 0
    (line,) = (line for line in server.lines if line.get("route") == "/livez")
    assert (line["event"], line["status"], line["request_id"]) == ("request", 200, "mine-1")
    assert {"timestamp", "level", "seconds", "bytes_in", "bytes_out", "stages"} <= set(line)


def test_a_signal_ends_the_process_while_it_imports(tiny_weights: Path) -> None:
    """Ends it at once, and well: as process 1 of a container it has no other handler."""
    code = (
        "import os, signal, sys; from service.__main__ import main; "
        "sys.modules['service.app'] = None; handle = signal.signal; "
        "signal.signal = lambda *given: (handle(*given), os.kill(os.getpid(), signal.SIGTERM)); "
        "main(['--model', sys.argv[1]])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_weights)],
        cwd=ROOT,
        env=environment(),
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0


def test_the_check_passes(tiny_weights: Path) -> None:
    done = run("--check", "--model", str(tiny_weights), "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: ")


def test_weights_that_are_missing_are_one_line_and_an_exit_code(tmp_path: Path) -> None:
    done = run("--model", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-clips", "none"],
        ["--device", "abacus", "--port", "0"],
        ["--api-keys-file", "/no/such/file"],
        ["--check", "--device", "abacus"],
    ],
)
def test_a_bad_setting_is_one_line_and_an_exit_code(
    tiny_weights: Path,
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.telemetry.logs.configure_logs", lambda _: None)
    assert main(["--model", str(tiny_weights), *arguments]) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert said.startswith("error: ")


def test_a_taken_port_is_an_exit_code(start: Callable[..., Running], tiny_weights: Path) -> None:
    port = start().url.rpartition(":")[2]
    done = run("--model", str(tiny_weights), "--port", port)
    assert done.returncode != 0
    assert "address already in use" in done.stderr


def test_help_names_every_flag() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--max-body-bytes" in done.stdout
    assert "--check" in done.stdout
