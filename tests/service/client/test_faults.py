"""The client gives a right result or a typed error when a server refuses, resets, breaks off or is silent."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cvivit import TokenGrid
from cvivit.errors import CorruptVideoError
from service.client import (
    AnswerTimeoutError,
    ConnectionFailedError,
    IncompleteAnswerError,
    ProblemError,
    RetryLaterError,
    UnexpectedAnswerError,
)
from service.engine import QueueFullError
from service.errors import BusyError, DrainingError
from tests.service.client import stand_in as said
from tests.service.client.stand_in import StandIn, message, resets, sends, sends_problem, sends_then, stand_in

GRID = TokenGrid(indices=np.zeros((2, 3, 4, 4), np.uint16), frames=10, fps=8.0, model="m")
OK = sends(message(GRID.to_bytes()))
LINES = "application/x-ndjson"


def line(clip: int) -> bytes:
    return json.dumps({"clip": clip, "indices": GRID.indices[0].tolist()}).encode() + b"\n"


LAST = b'{"model": "m", "shape": [2, 3, 4, 4], "frames": 10, "fps": 8.0}\n'
STREAM = line(0) + line(1) + LAST


@pytest.mark.parametrize(
    "failure",
    [
        sends_problem(429, "busy"),
        sends_problem(503, "not_ready"),
        sends(message(b"<html>Bad gateway", status=502, media_type="text/html")),
        sends(message(b"", status=504)),
        resets,
        said.closes,
    ],
)
def test_what_passes_is_tried_again(
    connect: Callable[..., Any], waits: list[float], failure: said.Answer, tmp_path: Path
) -> None:
    (tmp_path / "clip").write_bytes(b"v" * 200_000)
    with stand_in(failure, failure, OK) as server:
        assert connect(server.url).encode(tmp_path / "clip") == GRID
        assert server.requests == 3
        assert set(server.bodies) == {b"v" * 200_000}
    assert len(waits) == 2
    assert waits[0] < waits[1]


def test_retry_after_is_the_least_wait(connect: Callable[..., Any], waits: list[float]) -> None:
    failures = [sends_problem(429, "queue_full", Retry_After=seconds) for seconds in (7, 0, 45)]
    with stand_in(*failures, OK) as server:
        assert connect(server.url).encode(b"v") == GRID
    assert waits[0] == 7
    assert 2.2 < waits[1] <= 3
    assert waits[2] == 45


def test_a_wait_that_is_too_long_is_an_error_at_once(connect: Callable[..., Any], waits: list[float]) -> None:
    with stand_in(sends_problem(503, "busy", Retry_After=4000)) as server:
        with pytest.raises(RetryLaterError) as caught:
            connect(server.url).encode(b"v")
        assert (caught.value.retry_after_seconds, waits, server.requests) == (4000, [], 1)


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def test_retry_after_may_be_a_date(connect: Callable[..., Any], waits: list[float]) -> None:
    failures = [sends_problem(429, "queue_full", Retry_After=in_seconds(seconds)) for seconds in (40, -40)]
    with stand_in(*failures, OK) as server:
        assert connect(server.url).encode(b"v") == GRID
        assert 30 < waits[0] <= 40
        assert 2.2 < waits[1] <= 3
    with stand_in(sends_problem(429, "queue_full", Retry_After=in_seconds(40))) as server:
        with pytest.raises(QueueFullError) as caught:
            connect(server.url, retries=0).encode(b"v")
        assert 30 < caught.value.retry_after_seconds <= 40


@pytest.mark.parametrize(
    "said_of_time",
    [
        "soon",
        "-5",
        "1e3",
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        f"Fri, 31 Dec {'9' * 20} 23:59:59 GMT",
    ],
)
def test_a_retry_after_that_is_no_time_counts_as_none(
    connect: Callable[..., Any], waits: list[float], said_of_time: str
) -> None:
    with stand_in(sends_problem(503, "busy", Retry_After=said_of_time)) as server:
        with pytest.raises(BusyError) as caught:
            connect(server.url, retries=1).encode(b"v")
        assert caught.value.retry_after_seconds is None  # type: ignore[attr-defined]
    assert len(waits) == 1
    assert 1.1 < waits[0] <= 1.5


def test_half_a_minute_of_refusals_is_outlived(connect: Callable[..., Any], waits: list[float]) -> None:
    with stand_in(OK) as server:
        url = server.url
    for _ in range(10):
        waits.clear()
        with pytest.raises(ConnectionFailedError):
            connect(url).encode(b"v")
        assert (len(waits), sum(waits) > 30) == (5, True)
    with stand_in(sends_problem(503, "draining", Retry_After=5)) as server:
        waits.clear()
        with pytest.raises(DrainingError):
            connect(server.url).encode(b"v")
        assert (len(waits), sum(waits) > 30) == (5, True)


@pytest.mark.parametrize("retries", [0, 2])
def test_the_last_error_is_raised(connect: Callable[..., Any], waits: list[float], retries: int) -> None:
    with stand_in(sends_problem(429, "queue_full", detail="the queue is full", Retry_After=2)) as server:
        with pytest.raises(QueueFullError, match="the queue is full") as caught:
            connect(server.url, retries=retries).encode(b"v")
        assert (len(waits), server.requests) == (retries, retries + 1)
    error = caught.value
    assert isinstance(error, ProblemError)
    assert (error.status, error.retry_after_seconds, error.request_id) == (429, 2, "id-1")
    assert (error.limit, error.actual) == (3, 5)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 422, 500])
def test_what_does_not_pass_is_not_tried_again(
    connect: Callable[..., Any], waits: list[float], status: int
) -> None:
    with stand_in(sends_problem(status, "corrupt_video")) as server:
        with pytest.raises(CorruptVideoError):
            connect(server.url).encode(b"v")
        assert (waits, server.requests) == ([], 1)


def test_a_code_of_a_newer_server_is_a_problem(connect: Callable[..., Any]) -> None:
    with stand_in(sends_problem(418, "of_tomorrow")) as server:
        with pytest.raises(ProblemError) as caught:
            connect(server.url).info()
        assert (caught.value.code, caught.value.status) == ("of_tomorrow", 418)


def test_an_iterator_is_sent_once(connect: Callable[..., Any], waits: list[float]) -> None:
    with stand_in(sends_problem(503, "busy")) as server:
        with pytest.raises(BusyError):
            connect(server.url).encode(iter([b"v"]))
        assert (server.requests, server.bodies, waits) == (1, [b"v"], [])
        url = server.url
    with pytest.raises(ConnectionFailedError):
        connect(url).encode(iter([b"v"]))
    assert len(waits) == 5  # nothing was sent, so the client tries again


def test_a_file_object_is_sent_again_from_its_position(
    connect: Callable[..., Any], waits: list[float]
) -> None:
    file = io.BytesIO(b"before" + b"v" * 100_000)
    file.seek(6)
    with stand_in(resets, OK) as server:
        connect(server.url).encode(file)
        assert server.bodies == [b"v" * 100_000] * 2


SHORT = message(GRID.to_bytes()[:-10], Content_Length=len(GRID.to_bytes()))
CHUNKS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"
)


@pytest.mark.parametrize("answer", [SHORT, CHUNKS])
@pytest.mark.parametrize("ending", [said.closes, resets])
def test_an_answer_that_breaks_off_is_not_asked_for_again(
    connect: Callable[..., Any], waits: list[float], answer: bytes, ending: said.Answer
) -> None:
    with stand_in(sends_then(answer, ending)) as server:
        with pytest.raises(IncompleteAnswerError):
            connect(server.url).encode(b"v")
        assert (server.requests, waits) == (1, [])


def test_a_file_that_breaks_off_leaves_the_old_one(connect: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(b"old")
    short = message(b"new", media_type="video/mp4", Content_Length=100)
    with stand_in(sends_then(short, said.closes)) as server, pytest.raises(IncompleteAnswerError):
        connect(server.url).decode_to(GRID, path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "answer",
    [
        message(b"<html>", media_type="text/html"),
        message(b"no tokens"),
        message(b"<html>", status=403, media_type="text/html"),
        message(b"", status=302, Location="/elsewhere"),
        message(b"[1]", status=400, media_type="application/problem+json"),
        message(b'{"code": 5}', status=400, media_type="application/problem+json"),
        message(b"[" * 100_000, status=400, media_type="application/problem+json"),
    ],
)
def test_an_answer_of_something_else_is_told(connect: Callable[..., Any], answer: bytes) -> None:
    with stand_in(sends(answer)) as server, pytest.raises(UnexpectedAnswerError):
        connect(server.url).encode(b"v")


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x93NUMPY\x01\x00",
        npy(np.zeros((1, 2, 2, 3), np.float32)),
        npy(np.zeros((2, 2, 3), np.uint8)),
        npy(np.zeros((1, 2, 2, 3), np.uint8))[:-1],
        npy(np.zeros((1, 2, 2, 3), np.uint8)) + b"x",
        npy(np.zeros((9, 2, 2, 3), np.uint8)).replace(b"(9, 2,", b"(-1, 2,").replace(b"}  ", b"} "),
        b"\x93NUMPY\x01\x00\x08\x00{'a': (((",
    ],
)
def test_pixels_that_are_none_are_told(connect: Callable[..., Any], body: bytes) -> None:
    answer = sends(message(body, media_type="application/x-npy"))
    with stand_in(answer) as server, pytest.raises(UnexpectedAnswerError):
        connect(server.url).decode(GRID)


@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"version": 5}'])
def test_info_that_is_none_is_told(connect: Callable[..., Any], body: bytes) -> None:
    answer = sends(message(body, media_type="application/json"))
    with stand_in(answer) as server, pytest.raises(UnexpectedAnswerError):
        connect(server.url).info()


def test_a_silent_server_is_not_waited_for(connect: Callable[..., Any], waits: list[float]) -> None:
    """The server may still be working on the request, so the client does not send it again."""
    with stand_in(said.stays_silent(20)) as server:
        with pytest.raises(AnswerTimeoutError) as caught:
            connect(server.url, timeout=0.3).encode(b"v")
        assert (caught.value.limit, server.requests, waits) == (0.3, 1, [])


def test_a_server_that_falls_silent_is_not_waited_for(connect: Callable[..., Any]) -> None:
    with stand_in(sends_then(SHORT, said.stays_silent(20))) as server, pytest.raises(AnswerTimeoutError):
        connect(server.url, timeout=0.3).encode(b"v")


def stream_of(server: StandIn, connect: Callable[..., Any], **settings: Any) -> tuple[list[Any], Any]:
    clips: list[Any] = []
    try:
        clips += connect(server.url, **settings).encode_stream(b"v")
    except Exception as error:
        return clips, error
    return clips, None


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_stream_is_read_however_it_is_cut(connect: Callable[..., Any], size: int) -> None:
    def slowly(connection: Any) -> None:
        data = message(STREAM, media_type=LINES)
        for start in range(0, len(data), size):
            connection.sendall(data[start : start + size])

    with stand_in(slowly) as server:
        clips, error = stream_of(server, connect)
    assert (len(clips), error) == (2, None)


def test_a_stream_that_is_refused_is_tried_again(connect: Callable[..., Any], waits: list[float]) -> None:
    with stand_in(sends_problem(503, "busy"), resets, sends(message(STREAM, media_type=LINES))) as server:
        clips, error = stream_of(server, connect)
        assert (len(clips), error, server.requests) == (2, None, 3)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (line(0), IncompleteAnswerError),
        (line(0) + line(1)[:20], IncompleteAnswerError),
        (b"", IncompleteAnswerError),
        (line(0) + b'{"code": "corrupt_video", "status": 422, "detail": "x"}\n', CorruptVideoError),
        (line(0) + b"<html>\n", UnexpectedAnswerError),
        (line(1), UnexpectedAnswerError),
        (line(0) + line(0), UnexpectedAnswerError),
        (line(0) + LAST, UnexpectedAnswerError),
        (line(0) + b"5\n", UnexpectedAnswerError),
        (b'{"clip": 0, "indices": [[["x"]]]}\n', UnexpectedAnswerError),
        (b'{"clip": 0, "indices": []}\n', UnexpectedAnswerError),
        (b'{"clip": 0, "indices": [[[-1]]]}\n', UnexpectedAnswerError),
        (b'{"clip": 0, "indices": [[[1099511627776]]]}\n', UnexpectedAnswerError),
        (line(0) + b'{"clip": 1, "indices": [[[1]]]}\n', UnexpectedAnswerError),
        (b"[" * 100_000 + b"\n", UnexpectedAnswerError),
        (b'{"code": "busy", "status": 1e999}\n', UnexpectedAnswerError),
        (line(0) + LAST.replace(b"[2,", b"[1,").replace(b"10,", b"1e999,"), UnexpectedAnswerError),
        (line(0) + LAST.replace(b"[2,", b"[1,").replace(b"8.0", b"1" + b"0" * 400), UnexpectedAnswerError),
        (line(0) + LAST.replace(b"[2,", b"[1,") + line(1), UnexpectedAnswerError),
    ],
)
def test_a_stream_that_is_not_whole_is_an_error(
    connect: Callable[..., Any], waits: list[float], body: bytes, kind: type[Exception]
) -> None:
    with stand_in(sends(message(body, media_type=LINES))) as server:
        clips, error = stream_of(server, connect)
        assert isinstance(error, kind)
        assert (server.requests, waits) == (1, [])
        assert len(clips) <= 1


@pytest.mark.parametrize("ending", [said.closes, resets, said.stays_silent(20)])
def test_a_stream_that_has_begun_is_not_tried_again(
    connect: Callable[..., Any], waits: list[float], ending: said.Answer
) -> None:
    begun = message(line(0), media_type=LINES, Content_Length=10_000)
    with stand_in(sends_then(begun, ending)) as server:
        clips, error = stream_of(server, connect, timeout=1)
        assert isinstance(error, IncompleteAnswerError | AnswerTimeoutError)
        assert (server.requests, waits) == (1, [])
        assert len(clips) <= 1


def test_a_prefix_and_a_key_are_sent(connect: Callable[..., Any]) -> None:
    with stand_in(OK) as server:
        connect(server.url + "/video/", api_key="secret").encode(b"v", fit="pad", seconds=2)
        assert server.heads[0].startswith("POST /video/encode?fit=pad&seconds=2 HTTP/1.1\r\n")
        assert "authorization: bearer secret" in server.heads[0].lower()


@pytest.mark.parametrize("key", ["secret\n", "\tsecret\r\n"])
def test_a_key_may_come_from_a_file_with_a_line_break(connect: Callable[..., Any], key: str) -> None:
    with stand_in(OK) as server:
        connect(server.url, api_key=key).encode(b"v")
        assert "authorization: bearer secret\r\n" in server.heads[0].lower()


@pytest.mark.parametrize("key", ["", " \n", "hush hush", "hush\nX-Other: 1", "h\u00fcsh", "hush\0"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(
    connect: Callable[..., Any], key: str
) -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        connect("http://127.0.0.1:9", api_key=key)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "http://", "http:///encode", "http://[::1", "http://host:port", "http://a b"]
)
def test_what_is_no_url_is_refused(connect: Callable[..., Any], url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        connect(url)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 1e12])
def test_a_timeout_that_no_timer_can_hold_is_refused(connect: Callable[..., Any], timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        connect("http://127.0.0.1:9", timeout=timeout)
