"""The page explains every error of the server in sentences that a person understands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from service.errors import ClientGoneError
from service.problems import catalogue, status_of, title_of
from tests.service.web.browsing import (
    CHROMIUM,
    CITY,
    drop,
    served,
    wait_until,
    wait_until_playing,
    wait_until_said,
)

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

OpenPage = Callable[..., Any]

KINDS = [kind for kind in catalogue() if kind is not ClientGoneError and kind.code != "unauthorized"]
"""The errors that the page can get as an answer. A missing key leads to a form, which has its own test."""
DETAIL = "the detail of the server"
SAID = 'document.querySelector("[role=alert]").textContent.length > 0'


def problem(kind: Any) -> dict[str, Any]:
    """Return what the server answers for an error, as arguments of Playwright's `fulfill`."""
    status = status_of(kind) or 500
    fields = {"title": title_of(kind), "status": status, "code": kind.code, "detail": DETAIL}
    waits = {"retry-after": "7"} if status in (429, 503) else {}
    return {
        "status": status,
        "headers": waits | {"content-type": "application/problem+json"},
        "body": json.dumps(fields),
    }


def check_words(alert: str, kind: Any) -> None:
    """Check that an alert is for a person: sentences with a meaning of their own, and no JSON or code."""
    assert alert.endswith(("The detail of the server.", "Try again in 7 seconds.")), (kind.code, alert)
    meaning = alert.split("The detail of the server.")[0].strip()
    assert meaning[0].isupper(), (kind.code, alert)
    assert meaning.endswith("."), (kind.code, alert)
    assert len(meaning.split()) >= 4, (kind.code, alert)
    assert not set("{}[]_") & set(alert), (kind.code, alert)
    assert meaning.rstrip(".") != title_of(kind), f"{kind.code} has no words in service/web/words.js"


@pytest.mark.slow
def test_every_error_is_told_in_words(open_page: OpenPage) -> None:
    page = open_page(expected_failures=True)
    page.get_by_role("button", name="Use the sample").click()
    wait_until_playing(page)
    answer: dict[str, Any] = {}
    for path in ("**/encode*", "**/reconstruct*", "**/decode"):
        page.route(path, lambda route: route.fulfill(**answer))
    alert = page.locator("[role=alert]")
    for kind in KINDS:
        answer.update(problem(kind))
        drop(page, "video.mp4", b"anything")
        wait_until(page, SAID)
        check_words(alert.inner_text(), kind)
        assert page.locator("#retry").is_visible() == (status_of(kind) in (408, 429, 503)), kind.code
        page.get_by_role("button", name="Decode").click()
        wait_until(page, SAID)
        check_words(alert.inner_text(), kind)


@pytest.mark.slow
def test_a_request_is_made_again_when_the_server_has_time(open_page: OpenPage) -> None:
    page = open_page(expected_failures=True)
    busy = problem(next(kind for kind in KINDS if kind.code == "busy"))
    page.route("**/encode*", lambda route: route.fulfill(**busy), times=1)
    drop(page, "city.mp4", CITY.read_bytes())
    wait_until_said(page, "alert", "The server is busy. The detail of the server. Try again in 7 seconds.")
    page.get_by_role("button", name="Try again").click()
    wait_until_playing(page)
    assert page.locator("[role=alert]").inner_text() == ""
    assert page.locator("#retry").is_hidden()


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.slow
def test_an_answer_that_breaks_off_is_told(open_page: OpenPage, kept: float) -> None:
    page = open_page(expected_failures=True)

    def cut(route: Any) -> None:
        answer = route.fetch()
        body = answer.body()
        kind = {"content-type": answer.headers["content-type"]}
        route.fulfill(status=200, headers=kind, body=body[: int(len(body) * kept)])

    page.route("**/encode*", cut)
    drop(page, "city.mp4", CITY.read_bytes())
    wait_until(page, SAID)
    assert "broke off" in page.locator("[role=alert]").inner_text()


def sound_alone(folder: Path) -> bytes:
    """Return an MP4 with a second of silence and no picture."""
    with av.open(str(folder / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44_100)
        for n in range(44):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 44_100
            frame.pts = n * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return (folder / "sound.mp4").read_bytes()


def test_what_a_real_server_refuses_is_told(open_page: OpenPage, tmp_path: Path) -> None:
    city = CITY.read_bytes()
    files = {
        f"larger than the server allows. It takes {(len(city) + 100_000) / 1000:.1f} kB at most.": city
        + bytes(400_000),
        "no video in it": sound_alone(tmp_path),
        "no video of a kind": b"These are words and no video at all. " * 40,
        "damaged, or a part of it is missing": city[: len(city) // 2],
    }
    with served("--max-body-bytes", str(len(city) + 100_000)) as url:
        page = open_page(url, expected_failures=True)
        for words, contents in files.items():
            drop(page, "video.mp4", contents)
            wait_until_said(page, "alert", words)
            assert "{" not in page.locator("[role=alert]").inner_text()


def test_a_server_that_ends_is_told_and_one_that_returns_is_used(open_page: OpenPage) -> None:
    page = open_page(expected_failures=True)
    page.route("**/encode*", lambda route: route.abort(), times=1)
    drop(page, "city.mp4", CITY.read_bytes())
    wait_until_said(page, "alert", "cannot be reached")
    page.get_by_role("button", name="Try again").click()
    wait_until_playing(page)
