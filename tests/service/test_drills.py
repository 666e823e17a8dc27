"""Fault drills over HTTP: faults are repaired, accepted requests are answered, and nothing is left behind."""

import asyncio
import json
import logging
import signal
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from typing import Any

import httpx
import pytest
import structlog
from asgi_correlation_id import correlation_id
from starlette.types import Message, Receive, Scope, Send

from service.errors import DrainingError
from service.middleware.observation import ProblemMiddleware
from service.record import SCOPE_KEY, RequestRecord
from tests.processes import started as decoders

Serve = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]

LINES = {"accept": "application/x-ndjson"}


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGSEGV])
def test_an_idle_decoder_that_dies_is_not_missed(serve: Serve, video: bytes, sent: signal.Signals) -> None:
    server = serve()
    assert server.talk_through(video)[0] == 200
    for process in decoders():
        process.send_signal(sent)
    assert server.talk_through(video)[0] == 200


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGKILL, marks=pytest.mark.slow), signal.SIGSEGV])
def test_decoders_that_die_under_load_cost_their_own_videos_at_most(
    serve: Serve, eventually: Eventually, make: Callable[..., bytes], sent: signal.Signals
) -> None:
    server = serve(decoders=2)
    long = make(200)
    with ThreadPoolExecutor(12) as clients:
        answers = [clients.submit(server.talk_through, long) for _ in range(12)]
        eventually(lambda: server.app_state.pool.snapshot().busy == 2)
        for process in decoders():
            process.send_signal(sent)
        told = [answer.result() for answer in answers]
    assert all(status == 200 or problem["code"] == "decoder_crashed" for status, problem in told)
    assert sum(status == 200 for status, _ in told) >= 10
    assert server.talk_through(long)[0] == 200
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)
    eventually(lambda: server.app_state.pool.snapshot().processes == 2)


def test_a_client_that_leaves_midway_through_the_answer_frees_all(
    serve: Serve, eventually: Eventually, make: Callable[..., bytes]
) -> None:
    server = serve()
    body = make(400)
    lines = (
        "POST /encode HTTP/1.1",
        "Host: test",
        "Accept: application/x-ndjson",
        f"Content-Length: {len(body)}",
    )
    head = "\r\n".join((*lines, "", ""))
    for _ in range(3):
        with closing(server.connect()) as connection:
            connection.sendall(head.encode() + body)
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)
    eventually(lambda: server.app_state.engine.snapshot().requests == 0)
    eventually(lambda: server.app_state.pool.snapshot().busy == 0)
    assert server.talk_through(body)[0] == 200


def test_a_stop_under_load_answers_every_accepted_request(
    serve: Serve, eventually: Eventually, make: Callable[..., bytes]
) -> None:
    server = serve(decoders=2)
    long = make(100)
    with ThreadPoolExecutor(8) as clients:
        answers = [clients.submit(server.talk_through, long) for _ in range(8)]
        eventually(lambda: server.app_state.lifecycle.in_flight == 8)
        server.server.handle_exit(signal.SIGTERM, None)
        assert [answer.result()[0] for answer in answers] == [200] * 8
    server.thread.join(60)
    assert server.server.exit_code == 0
    assert not decoders()


def test_the_log_line_of_a_signal_names_no_request(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    logged: list[tuple[str, str | None]] = []

    def info(event: str, **_: object) -> None:
        logged.append((event, correlation_id.get()))

    server = serve()
    monkeypatch.setattr("service.server.run.log.info", info)
    interrupted = correlation_id.set("a stranger's")
    server.server.handle_exit(signal.SIGTERM, None)
    correlation_id.reset(interrupted)
    server.thread.join(60)
    assert [whose for event, whose in logged if event == "draining"] == [None]


def test_a_stream_ends_with_the_reason_when_the_grace_time_is_over(
    serve_gated: Serve, gate: Any, make: Callable[..., bytes], caplog: pytest.LogCaptureFixture
) -> None:
    gate.free = 1
    server = serve_gated(grace_seconds=0.2)
    with structlog.testing.capture_logs() as logged, caplog.at_level(logging.ERROR):
        post = httpx.stream("POST", f"{server.url}/encode", content=make(80), headers=LINES, timeout=60)
        with post as response:
            lines = response.iter_lines()
            assert json.loads(next(lines))["clip"] == 0
            assert gate.reached.wait(60)
            server.server.handle_exit(signal.SIGTERM, None)
            *_, last = lines
        gate.opened.set()
        server.thread.join(60)
    assert json.loads(last)["code"] == "draining"
    (line,) = (line for line in logged if line["event"] == "request")
    assert (line["status"], line["code"]) == (200, "draining")
    assert not caplog.records
    assert server.server.exit_code == 0


def test_a_second_signal_ends_the_grace_time(
    serve_gated: Serve,
    gate: Any,
    make: Callable[..., bytes],
    eventually: Eventually,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate.free = 1
    server = serve_gated(grace_seconds=600)
    stream = httpx.stream("POST", f"{server.url}/encode", content=make(80), headers=LINES, timeout=60)
    with ThreadPoolExecutor(1) as client, caplog.at_level(logging.ERROR), stream as response:
        lines = response.iter_lines()
        assert json.loads(next(lines))["clip"] == 0
        whole = client.submit(httpx.post, f"{server.url}/encode", content=make(80), timeout=60)
        eventually(lambda: server.app_state.lifecycle.in_flight == 2)
        for _ in range(2):
            server.server.handle_exit(signal.SIGTERM, None)
        *_, last = lines
        answer = whole.result()
        gate.opened.set()
        server.thread.join(60)
    assert json.loads(last)["code"] == "draining"
    assert (answer.status_code, answer.json()["code"]) == (503, "draining")
    assert not caplog.records
    assert server.server.exit_code == 0


@pytest.mark.parametrize("error", [DrainingError("stopped"), ValueError("a bug")])
def test_a_cut_off_answer_is_logged_only_if_it_is_a_bug(error: Exception) -> None:
    """An error that is raised further is logged with its traceback. In both cases the answer is cut off."""
    sent: list[Message] = []

    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    async def send(message: Message) -> None:
        sent.append(message)

    record = RequestRecord(method="POST", route="/decode")
    scope = {"type": "http", "path": "/decode", SCOPE_KEY: record}
    is_bug = not isinstance(error, DrainingError)
    with pytest.raises(ValueError, match="a bug") if is_bug else nullcontext():
        asyncio.run(ProblemMiddleware(app)(scope, receive_nothing, send))
    assert [message["type"] for message in sent] == ["http.response.start"]
    assert record.code == ("internal_error" if is_bug else "draining")


async def receive_nothing() -> Message:
    raise AssertionError


def test_a_bug_in_the_middle_of_a_stream_is_in_the_log(
    serve_gated: Serve, gate: Any, make: Callable[..., bytes]
) -> None:
    gate.free, gate.failure = 1, ValueError("a bug")
    post = httpx.stream("POST", f"{serve_gated().url}/encode", content=make(80), headers=LINES, timeout=60)
    with structlog.testing.capture_logs() as logged, post as response:
        lines = response.iter_lines()
        assert json.loads(next(lines))["clip"] == 0
        gate.opened.set()
        *_, last = lines
    assert json.loads(last)["code"] == "clip_failed"
    (line,) = (line for line in logged if line["event"] == "a request failed")
    assert line["route"] == "/encode"
    assert "ValueError: a bug" in "".join(traceback.format_exception(line["exc_info"]))
