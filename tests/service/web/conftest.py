"""A server, a browser, and pages of the server that are open in the browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.service.web.browsing import CHROMIUM, served

FLAGS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
"""Chromium has no sandbox of its own in a container. Its camera shows a moving test picture."""
WRONG = ("error", "warning")
"""The types of console messages that fail a test."""

OpenPage = Callable[..., Any]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, which ends with the module. While Playwright runs, no asyncio loop can run on this thread."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@pytest.fixture
def open_page(browser: Any, url: str) -> Iterator[OpenPage]:
    """Open the page in a fresh browser context. Errors and warnings in the console fail the test."""
    contexts: list[Any] = []
    said: list[str] = []

    def opened(address: str = "", *, expected_failures: bool = False, **options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        if not expected_failures:
            page.on("console", lambda line: said.append(line.text) if line.type in WRONG else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto(address or url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said
