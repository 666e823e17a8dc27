"""The page below a path prefix, behind nginx and with keys, and its recordings from a camera."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.service.server.proxies import missing, nginx
from tests.service.web.browsing import CHROMIUM, served, wait_until, wait_until_playing, wait_until_said

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

OpenPage = Callable[..., Any]

LOCATIONS = "location /video/ { proxy_pass http://service/; } location / { return 418; }"


@pytest.mark.skipif(missing("nginx"), reason="nginx is not installed")
def test_the_page_works_below_a_prefix_and_with_a_key(open_page: OpenPage, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("open-sesame\n")
    asked: list[str] = []
    with (
        served("--api-keys-file", str(keys), "--root-path", "/video") as url,
        nginx(tmp_path, urlsplit(url).netloc, LOCATIONS) as port,
    ):
        page = open_page("about:blank", expected_failures=True)
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/video")  # without a slash: nginx adds it
        page.wait_for_selector("#key-form:not([hidden])")
        page.locator("#key").fill("open-sesame")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Use the sample").click()
        wait_until_playing(page)
        page.get_by_role("button", name="Decode").click()
        wait_until_said(page, "status", "Decoded")
        page.get_by_role("button", name="Copy the curl command").click()
        command = page.locator("#curl-text").inner_text()
        assert f":{port}/video/encode" in command
        assert "open-sesame" not in command
        assert "Bearer $KEY" in command
        links = page.eval_on_selector_all("nav a", "links => links.map((link) => link.href)")
        assert all(page.request.get(link).status in (200, 401) for link in links)
    wanted = {f"/video/{name}" for name in ("web/app.js", "info", "encode", "reconstruct", "decode")}
    paths = {urlsplit(each).path for each in asked if each.startswith("http")}
    assert wanted <= paths
    assert all(path.startswith("/video") for path in paths), paths


def test_a_recording_of_the_camera_is_encoded(open_page: OpenPage, url: str) -> None:
    page = open_page(permissions=["camera"])
    record = page.locator("#record")
    record.click()
    wait_until(page, 'document.querySelector("#camera").readyState >= 2')
    assert record.inner_text() == "Stop recording"
    assert record.get_attribute("aria-pressed") == "true"
    page.wait_for_timeout(1500)
    record.click()
    wait_until_playing(page)
    assert record.inner_text() == "Record with the camera"
    assert page.locator("#camera").is_hidden()
    assert page.evaluate('document.querySelector("#camera").srcObject') is None  # the camera was released


@pytest.mark.slow
def test_a_camera_that_is_refused_is_told(open_page: OpenPage) -> None:
    page = open_page(expected_failures=True)
    page.evaluate(
        """() => {
          const refusal = new DOMException("no", "NotAllowedError");
          navigator.mediaDevices.getUserMedia = () => Promise.reject(refusal);
        }"""
    )
    page.locator("#record").click()
    wait_until_said(page, "alert", "The camera was not allowed")
    assert page.locator("#record").inner_text() == "Record with the camera"


def test_hovering_tells_the_code_and_where_else_it_is(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="Use the sample").click()
    wait_until_playing(page)
    page.locator("#tokens").scroll_into_view_if_needed()
    box = page.locator("#tokens").bounding_box()
    page.mouse.move(box["x"] + 40, box["y"] + 40)
    first = page.locator("#token-info").inner_text()
    assert "picture 1, row " in first
    assert "in this clip" in first
    page.mouse.move(box["x"] + 160, box["y"] + 160)
    assert page.locator("#token-info").inner_text() != first


@pytest.mark.slow
def test_figures_say_that_they_are_older_than_an_edit(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="Use the sample").click()
    wait_until_playing(page)
    assert page.locator("#facts-hint").is_hidden()
    page.get_by_label("Paint").check()
    page.locator("#tokens").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Decode").click()
    wait_until_said(page, "status", "Decoded")
    assert page.locator("#facts-hint").is_visible()
