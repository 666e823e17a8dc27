"""Swagger's "Authorize" in a real browser: the page opens without a key, and its calls then carry one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.web.browsing import CHROMIUM

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


def call_info(page: Any) -> str:
    """Call GET /info on the page, and return the status that it shows."""
    route = page.locator("#operations-information-info_info_get")
    if not route.locator(".opblock-body").count():
        route.locator(".opblock-summary").click()
        route.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/info") as answer:
        route.get_by_role("button", name="Execute").click()
    status = str(answer.value.status)
    route.locator(".live-responses-table .response-col_status", has_text=status).wait_for()
    return status


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "/video"])
def test_authorize_works_in_a_browser(serve: Callable[..., Any], tmp_path: Path, prefix: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text("the-key name=alice\n")
    server = serve(api_keys_file=keys, root_path=prefix)
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}{prefix}/docs")
        assert call_info(page) == "401"
        page.get_by_role("button", name="Authorize").first.click()
        page.locator(".modal-ux input").fill("the-key")
        page.locator(".modal-ux button.authorize").click()
        page.locator(".modal-ux .close-modal").click()
        assert call_info(page) == "200"
        browser.close()
