"""A server listens while it loads its model. It is alive but not ready, and ends if loading fails."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from cvivit import VideoTokenizer
from cvivit.errors import WeightsNotFoundError

Serve = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]


class Loading:
    """A load that lasts until it is told to end."""

    def __init__(self, tokenizer: VideoTokenizer) -> None:
        self.ended = threading.Event()
        self.failure: Exception | None = None
        self._tokenizer = tokenizer

    def __call__(self, _: object) -> list[VideoTokenizer]:
        assert self.ended.wait(60)
        if self.failure is not None:
            raise self.failure
        return [self._tokenizer]


@pytest.fixture
def loading(tokenizer: VideoTokenizer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    loading = Loading(tokenizer)
    monkeypatch.setattr("service.app_state.load", loading)
    yield loading
    loading.ended.set()


def json_body_of_decode(server: Any) -> Any:
    """Return how `/decode` describes its JSON body. There is an example once a model is loaded."""
    status, document = server.get("/openapi.json")
    assert status == 200
    return document["paths"]["/decode"]["post"]["requestBody"]["content"]["application/json"]


def test_it_is_alive_and_not_ready_until_the_model_is_warm(
    serve_loading: Serve, loading: Loading, eventually: Eventually, video: bytes
) -> None:
    server = serve_loading()
    assert server.get("/livez") == (200, {"status": "alive"})
    assert server.get("/docs")[0] == server.get("/metrics")[0] == 200
    assert "example" not in json_body_of_decode(server)
    for path in ("/readyz", "/info"):
        status, problem = server.get(path)
        assert (status, problem["code"]) == (503, "not_ready")
    for path in ("/encode", "/decode", "/reconstruct"):
        with closing(server.post(video, path=path)) as connection:
            head = connection.recv(65536).decode().lower()
        assert head.startswith("http/1.1 503")
        assert "retry-after: " in head
    loading.ended.set()
    eventually(lambda: server.get("/readyz")[0] == 200)
    assert "example" in json_body_of_decode(server)
    assert server.talk_through(video)[0] == 200
    assert server.get("/info")[0] == 200


def test_a_model_that_cannot_be_loaded_ends_the_server(serve_loading: Serve, loading: Loading) -> None:
    server = serve_loading()
    loading.failure = WeightsNotFoundError("they are nowhere")
    loading.ended.set()
    server.thread.join(60)
    assert not server.thread.is_alive()
    assert server.server.exit_code == 1
    assert server.app_state.failure is loading.failure


def test_a_stop_does_not_wait_for_the_model(serve_loading: Serve, loading: Loading) -> None:
    server = serve_loading()
    server.server.handle_exit(signal.SIGTERM, None)
    server.thread.join(30)
    assert not server.thread.is_alive()
    assert server.server.exit_code == 0
