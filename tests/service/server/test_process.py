"""The process: its command line, its signals, its exit codes, and its messages when it cannot start."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.__main__ import main
from tests.places import ROOT
from tests.service.server.processes import PATIENCE_SECONDS, Running, environment, run, starting


@pytest.fixture(autouse=True)
def _this_process_stays_as_it_is() -> Iterator[None]:
    digits = sys.get_int_max_str_digits()
    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in handled]
    yield
    sys.set_int_max_str_digits(digits)
    for number, handler in zip(handled, handlers, strict=True):
        signal.signal(number, handler)


def test_a_signal_ends_the_process_well_and_each_request_is_a_line(start: Callable[..., Running]) -> None:
    server = start()
    assert server.get("/readyz") == 200
    request = urllib.request.Request(server.url + "/livez", headers={"x-request-id": "mine-1"})
    urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()
    assert server.end(signal.SIGTERM) == 0
    (line,) = (line for line in server.lines if line.get("route") == "/livez")
    assert (line["event"], line["status"], line["request_id"]) == ("request", 200, "mine-1")
    assert {"timestamp", "level", "seconds", "bytes_in", "bytes_out", "stages"} <= set(line)


INTERRUPT_AN_IMPORT = """
import os, sys
from service.__main__ import main

class Send:
    def find_spec(self, name, *_):
        if name == sys.argv[1]:
            os.kill(os.getpid(), int(sys.argv[2]))

sys.meta_path.insert(0, Send())
main(["--model", sys.argv[3], "--port", "0"])
"""


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
@pytest.mark.parametrize("module", ["pydantic_settings", "torch"])
def test_a_signal_in_the_middle_of_an_import_is_quiet(
    tiny_weights: Path, module: str, sent: signal.Signals, code: int
) -> None:
    """Process 1 of a container has no default handler for signals, so without ours it would never end."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT_AN_IMPORT, module, str(int(sent)), str(tiny_weights)],
        cwd=ROOT,
        env=environment(),
        timeout=PATIENCE_SECONDS,
        check=False,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def catches(process: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{process}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("seconds", [0, 0.7, 2])
def test_an_interrupt_during_the_start_is_quiet(tiny_weights: Path, tmp_path: Path, seconds: float) -> None:
    log = tmp_path / "log"
    with starting(tiny_weights, log) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not catches(process.pid, signal.SIGTERM):  # Python itself only has one for SIGINT
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGHUP)  # nothing can be reloaded yet, so it has no effect
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        code = process.wait(PATIENCE_SECONDS)
    lines = log.read_text().splitlines()
    assert all(line.startswith("{") for line in lines), lines
    assert code == (0 if any('"serving"' in line for line in lines) else 130)


@pytest.mark.parametrize(
    ("count", "gap"), [(2, 0.05), pytest.param(2, 0.3, marks=pytest.mark.slow), (3, 0.05), (8, 0.1)]
)
def test_more_than_one_signal_is_quiet_and_keeps_the_code(
    tiny_weights: Path, tmp_path: Path, count: int, gap: float
) -> None:
    """A process manager may signal a whole group, and a child of it passes the signal on."""
    with starting(tiny_weights, tmp_path / "log", "--drain-seconds", "0") as process:
        running = Running(process, tmp_path / "log")
        for _ in range(count):
            process.send_signal(signal.SIGTERM)
            time.sleep(gap)
        assert running.end(None) == 0
        assert not [line for line in running.lines if line["level"] == "error"]


@pytest.mark.parametrize(
    "closed",
    [pytest.param((0, 1), marks=pytest.mark.slow), pytest.param((2,), marks=pytest.mark.slow), (0, 1, 2)],
)
def test_closed_standard_streams_do_no_harm(
    tiny_weights: Path, tmp_path: Path, closed: tuple[int, ...]
) -> None:
    """A socket would get the number of a closed stream, and the event loop aborts when it closes that."""

    def close() -> None:
        for number in closed:
            os.close(number)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with starting(tiny_weights, tmp_path / "log", before=close, port=str(port)) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while answered(f"http://127.0.0.1:{port}/readyz") != 200:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        streams = [os.readlink(f"/proc/{process.pid}/fd/{number}") for number in closed]
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_SECONDS) == 0
    assert streams == ["/dev/null"] * len(closed)


def answered(url: str) -> int | None:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as response:
            return int(response.status)
    except OSError:
        return None


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


@pytest.mark.parametrize(
    ("arguments", "variables", "code", "line"),
    [
        (
            ["--check", "--device", "cuda:99"],
            {},
            1,
            "device is 'cuda:99' (--device or CVIVIT_DEVICE): device 'cuda:99' is not here",
        ),
        (["--prot", "1"], {}, 2, "unrecognized arguments: --prot 1; did you mean --port?"),
        (["--max-clip=4"], {}, 2, "did you mean --max-clips?"),
        (["serve"], {}, 2, "unrecognized arguments: serve (--help"),
        (["--port"], {}, 2, "--port: expected one argument (--help"),
        (["--port", "http"], {}, 1, "port is 'http' (--port or CVIVIT_PORT): it should be a valid integer\n"),
        ([], {"PORT": "http"}, 1, "port is 'http' (--port or CVIVIT_PORT): it should be a valid integer"),
        (
            [],
            {"CVIVIT_MAX_CLIPS": "-4"},
            1,
            "max_clips is '-4' (--max-clips or CVIVIT_MAX_CLIPS): it should be gr",
        ),
        ([], {"CVIVIT_PRECISION": "exakt"}, 1, "CVIVIT_PRECISION): it should be 'auto', 'exact' or 'fast'"),
        ([], {"CVIVIT_CORS_ORIGINS": "a.b/c"}, 1, "cors_origins"),
        (
            ["--device", "gpu"],
            {},
            1,
            "device is 'gpu' (--device or CVIVIT_DEVICE): 'gpu' is not a device: try",
        ),
        (
            [],
            {"CVIVIT_DEVICE": "cpu,gpu"},
            1,
            "device is 'cpu,gpu' (--device or CVIVIT_DEVICE): 'gpu' is not",
        ),
    ],
)
def test_a_mistake_names_the_setting_its_value_and_the_nearest_flag(
    arguments: list[str],
    variables: dict[str, str],
    code: int,
    line: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("error: ")
    assert line in said


@pytest.mark.slow
def test_a_taken_port_is_an_exit_code(start: Callable[..., Running], tiny_weights: Path) -> None:
    port = start().url.rpartition(":")[2]
    done = run("--model", str(tiny_weights), "--port", port)
    assert done.returncode == 1
    assert done.stderr == f"error: host: cannot listen on 127.0.0.1, port {port}: address already in use\n"


def test_help_names_every_flag() -> None:
    done = run("--help")
    assert done.returncode == 0
    assert "--max-body-bytes" in done.stdout
    assert "--check" in done.stdout
