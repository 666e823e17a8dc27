"""Minutes of steady load while keys are reloaded every second: no request fails, and every reload happens."""

import http.client
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service.server.processes import PATIENCE_SECONDS, Running

SECONDS = float(os.environ.get("KEY_RELOADS_SECONDS", "600"))
"""How long the load lasts."""
CLIENTS = 4
PAUSE_SECONDS = 0.05
GENERATIONS = 20
"""The file holds the keys of this many seconds. Clients use one from the middle, as if they got it late."""


class Client:
    """Sends requests one after the other on a connection that it keeps."""

    def __init__(self, port: int, key: Callable[[], str], body: bytes) -> None:
        self.statuses: Counter[int | str] = Counter()
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        self._key, self._body = key, body

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.statuses[self._send("POST", "/encode", self._body)] += 1
            self.statuses[self._send("GET", "/info", b"")] += 1
            stop.wait(PAUSE_SECONDS)
        self._connection.close()

    def _send(self, method: str, path: str, body: bytes) -> int | str:
        try:
            headers = {"Authorization": f"Bearer {self._key()}"}
            self._connection.request(method, path, body, headers)
            with self._connection.getresponse() as response:
                response.read()
                return response.status
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            return repr(error)


def write(path: Path, second: int) -> None:
    """Write the keys of a second, in the ways that people write them: in place, by a rename, line by line."""
    lines = ["steady name=steady in_flight=8 # stays\n"]
    lines += [f"key-{number} name=rotating\n" for number in range(max(0, second - GENERATIONS), second + 1)]
    if second % 3 == 0:
        path.write_text("".join(lines))
    elif second % 3 == 1:
        other = path.with_suffix(".new")
        other.write_text("".join(lines))
        other.replace(path)
    else:
        with path.open("w") as file:
            for line in lines:
                file.write(line)
                file.flush()


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 300)
def test_no_request_fails_while_keys_are_reloaded_every_second(
    start: Callable[..., Running], tmp_path: Path, video: bytes
) -> None:
    path = tmp_path / "keys"
    write(path, 0)
    server = start(api_keys_file=str(path))
    second = 0
    stop = threading.Event()

    def rotating() -> str:
        return f"key-{max(0, second - GENERATIONS // 2)}"

    keys: list[Callable[[], str]] = [rotating, lambda: "steady"]
    clients = [Client(server.port, keys[number % 2], video) for number in range(CLIENTS)]
    threads = [threading.Thread(target=client.run, args=(stop,)) for client in clients]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    while time.monotonic() - began < SECONDS:
        second += 1
        write(path, second)
        if second % 5 == 0:
            server.process.send_signal(signal.SIGHUP)
        time.sleep(max(0.0, began + second - time.monotonic()))
    stop.set()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    statuses = sum((client.statuses for client in clients), Counter[int | str]())
    reloads = len(server.events("the keys were reloaded"))
    assert set(statuses) == {200}, f"{second} writes, {reloads} reloads, answers {dict(statuses)}"
    assert reloads > 0.5 * SECONDS
    assert not server.events("the keys were not reloaded and stay as they were")
    assert server.end(signal.SIGTERM) == 0
