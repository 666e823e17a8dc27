"""The client while its server is killed and started again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from service.client import Client, IncompleteAnswerError
from tests.service.server_process import ServerProcess


@pytest.fixture
def restarted(tiny_weights: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tiny_weights)
    with ExitStack() as stack:
        stack.callback(server.kill)
        yield server


def test_a_server_may_be_killed_and_started_again(
    restarted: ServerProcess, connect: Callable[..., Any], make: Callable[..., bytes], tokenizer: Any
) -> None:
    video = make(40)
    client = connect(restarted.url, retries=8)  # a busy machine is slow to start a server
    kills = 0

    def kill_once(sent: int, size: int | None) -> None:
        """Kill the server when it has the whole video and no answer has come."""
        nonlocal kills
        if sent == size and not kills:
            kills += 1
            restarted.kill()
            restarted.start()

    restarted.start()
    assert client.info().model == tokenizer.fingerprint  # while it starts
    assert client.encode(video, progress=kill_once) == tokenizer.encode(video)
    assert kills == 1


def test_a_stream_whose_server_is_killed_is_an_error(
    restarted: ServerProcess, make: Callable[..., bytes]
) -> None:
    restarted.start()
    with Client(restarted.url, retries=8) as client:
        client.info()
        stream = client.encode_stream(make(4000))
        assert next(stream).shape == (3, 4, 4)
        restarted.kill()
        with pytest.raises(IncompleteAnswerError):
            list(stream)
