"""The demo page in a real browser: from a dropped video to its tokens, an edit, and every error."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvivit import TokenGrid
from tests.service.web.browsing import (
    CHROMIUM,
    CITY,
    DROP,
    drop,
    hold,
    phone_clip,
    served,
    wait_until,
    wait_until_playing,
    wait_until_said,
)

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

ASKED_SECONDS = 3.0
"""The time wanted from a drop to both videos playing, on two idle cores. The test prints the real time."""
MAX_SECONDS = 10.0
"""The time allowed on a machine that also does other work. The test fails if it takes longer."""
MAX_PAGE_BYTES = 100_000
"""Bytes of HTML, CSS and JavaScript together."""

OpenPage = Callable[..., Any]


def test_a_dropped_video_plays_beside_its_reconstruction(
    open_page: OpenPage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = phone_clip(tmp_path).read_bytes()
    page = open_page()
    drop(page, "first.mp4", clip)  # the decoders load libraries for their first video
    wait_until_playing(page)
    page.reload()
    hold(page, "phone.mp4", clip)
    started = time.monotonic()
    page.evaluate(DROP)
    wait_until_playing(page)
    took = time.monotonic() - started
    with capsys.disabled():
        print(f"\nfrom drop to both videos playing: {took:.2f} s (asked: under {ASKED_SECONDS:.0f} s)")  # noqa: T201
    assert took < MAX_SECONDS
    assert float(page.locator("#psnr").inner_text().split()[0]) > 10
    assert 0 < float(page.locator("#ssim").inner_text()) <= 1
    assert page.locator("#ratio").inner_text().endswith("to 1")
    wait_until_said(page, "status", "Ready")


def test_tokens_are_edited_and_decoded(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    page.locator("input[type=file]").set_input_files(CITY)
    wait_until_playing(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download tokens").click()
    download.value.save_as(tmp_path / "before.json")
    canvas = page.locator('canvas[aria-label="tokens"]')
    page.get_by_label("Paint").check()
    page.locator("#code").fill("5")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 60, steps=10)
    page.mouse.up()
    before = page.locator('video[aria-label="reconstruction"]').get_attribute("src")
    page.get_by_role("button", name="Decode").click()
    wait_until_said(page, "status", "Decoded")
    assert page.locator('video[aria-label="reconstruction"]').get_attribute("src") != before
    wait_until_playing(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download tokens").click()
    download.value.save_as(tmp_path / "after.json")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download video").click()
    download.value.save_as(tmp_path / "video.mp4")
    grids = [TokenGrid.from_json((tmp_path / name).read_text()) for name in ("before.json", "after.json")]
    changed = grids[0].indices != grids[1].indices
    assert 6 <= changed.sum() <= 6 * 12
    assert (grids[1].indices[changed] == 5).all()
    assert (tmp_path / "video.mp4").read_bytes()[4:8] == b"ftyp"
    page.get_by_role("button", name="Undo").click()
    assert page.get_by_role("button", name="Undo").is_disabled()


@pytest.mark.slow
def test_a_region_is_copied_from_one_video_to_another(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    page.locator("input[type=file]").set_input_files(CITY)
    wait_until_playing(page)
    canvas = page.locator('canvas[aria-label="tokens"]')
    page.get_by_label("Copy a region").check()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 50, steps=5)
    page.mouse.up()
    assert "Copied" in page.locator("#token-info").inner_text()
    page.locator("input[type=file]").set_input_files(phone_clip(tmp_path, 1.5))
    wait_until_said(page, "status", "Ready: 2")
    page.get_by_label("Paste the region").check()
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    page.mouse.click(box["x"] + 100, box["y"] + 100)
    assert page.get_by_role("button", name="Undo").is_enabled()


def test_everything_can_be_done_with_the_keyboard_alone(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="Use the sample").focus()
    page.keyboard.press("Enter")
    wait_until_playing(page)
    canvas = page.locator('canvas[aria-label="tokens"]')
    canvas.focus()
    for key in ("ArrowRight", "ArrowDown", "PageDown", "End", "Home", "ArrowRight"):
        page.keyboard.press(key)
    assert "picture 2, row 1, column 2" in page.locator("#token-info").inner_text()
    page.get_by_label("Paint").focus()
    page.keyboard.press("Space")
    page.locator("#code").focus()
    page.keyboard.press("Control+a")
    page.keyboard.type("7")
    canvas.focus()
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    assert "Code 7 " in page.locator("#token-info").inner_text()
    page.get_by_role("button", name="Decode").focus()
    page.keyboard.press("Enter")
    wait_until_said(page, "status", "Decoded")


@pytest.mark.parametrize(
    ("name", "contents", "words"),
    [
        ("empty.mp4", b"", "is empty"),
        ("notes.txt", b"These are words and no video at all. " * 40, "no video of a kind"),
        ("cut.mp4", CITY.read_bytes()[: CITY.stat().st_size // 2], ""),
        ("page.html", b"<html><body>hello</body></html>" * 9, ""),
    ],
)
def test_errors_are_told_in_words(open_page: OpenPage, name: str, contents: bytes, words: str) -> None:
    page = open_page(expected_failures=True)
    drop(page, name, contents)
    wait_until(page, 'document.querySelector("[role=alert]").textContent.length > 0')
    alert = page.locator("[role=alert]").inner_text()
    assert words in alert
    assert "{" not in alert
    page.get_by_role("button", name="Use the sample").click()
    wait_until_playing(page)
    assert page.locator("[role=alert]").inner_text() == ""


def test_a_phone_shows_the_page_without_scrolling_sideways(open_page: OpenPage) -> None:
    page = open_page(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Use the sample").click()
    wait_until_playing(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.get_by_label("Compare under a slider").check()
    page.locator("#split").fill("30")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: OpenPage, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
    page = open_page(color_scheme=scheme, bypass_csp=True)  # axe itself is a script that the policy forbids
    for _ in range(2):
        found = axe.run(page).response["violations"]
        assert not [
            (each["id"], each["nodes"][0]["html"])
            for each in found
            if each["impact"] in ("serious", "critical")
        ]
        page.get_by_role("button", name="Use the sample").click()
        wait_until_playing(page)


@pytest.mark.slow
def test_keys_are_asked_for_and_kept(browser: Any, tmp_path: Path, open_page: OpenPage) -> None:
    keys = tmp_path / "keys"
    keys.write_text("open-sesame\n")
    with served("--api-keys-file", str(keys)) as url:
        page = open_page(url, expected_failures=True)
        page.wait_for_selector("#key-form:not([hidden])")
        page.locator("#key").fill("wrong")
        page.keyboard.press("Enter")
        wait_until_said(page, "alert", "does not know")
        page.locator("#key").fill("open-sesame")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Use the sample").click()
        wait_until_playing(page)


def test_the_page_is_small_and_loads_nothing_from_elsewhere(open_page: OpenPage, url: str) -> None:
    sizes: dict[str, int] = {}
    page = open_page("about:blank")
    page.on("response", lambda answer: sizes.__setitem__(answer.url, len(answer.body())))
    page.goto(url)
    page.wait_for_load_state("networkidle")
    assert all(each.startswith(url) for each in sizes)
    assert sum(sizes.values()) < MAX_PAGE_BYTES


def test_the_camera_is_allowed_on_the_page_alone(open_page: OpenPage, url: str) -> None:
    page = open_page()
    policies = {
        path: page.request.get(url + path).headers["permissions-policy"] for path in ("/", "/docs", "/info")
    }
    assert "camera=(self)" in policies["/"]
    assert all("camera=()" in policies[path] for path in ("/docs", "/info"))


def commands_of(page: Any) -> str:
    page.get_by_role("button", name="Copy the curl command").click()
    return str(page.locator("#curl-text").inner_text())


def run_in_a_shell(commands: str, folder: Path) -> TokenGrid:
    """Run commands as a person does who pastes them, and return the tokens that they leave."""
    done = subprocess.run(
        ["bash", "-euc", commands], cwd=folder, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "reconstruction.mp4").read_bytes()[4:8] == b"ftyp"
    return TokenGrid.from_json((folder / "tokens.json").read_text())


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("name", ["city.mp4", 'it\'s $(touch evil) "a" `b` \u00fc;.mp4', "-"])
def test_a_copied_command_does_what_the_page_did(open_page: OpenPage, tmp_path: Path, name: str) -> None:
    page = open_page()
    drop(page, name, CITY.read_bytes())
    wait_until_playing(page)
    commands = commands_of(page)
    assert len(commands.splitlines()) == 2
    (tmp_path / name).write_bytes(CITY.read_bytes())
    assert run_in_a_shell(commands, tmp_path).frames == 22
    assert not (tmp_path / "evil").exists()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_command_for_the_sample_gets_the_sample(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page()
    page.get_by_role("button", name="Use the sample").click()
    wait_until_playing(page)
    page.locator("#fit").select_option("pad")
    wait_until_said(page, "status", "Ready")
    assert run_in_a_shell(commands_of(page), tmp_path).frames == 22


def test_another_way_to_a_square_is_for_the_video_that_is_shown(open_page: OpenPage) -> None:
    page = open_page()
    page.locator("input[type=file]").set_input_files(CITY)
    wait_until_playing(page)
    drop(page, "dropped.mp4", (CITY.parent / CITY.name).read_bytes())
    wait_until_said(page, "status", "of dropped.mp4")
    before = page.locator("#psnr").inner_text()
    assert page.locator("input[type=file]").input_value() == ""  # it no longer names the other video
    page.locator("#fit").select_option("pad")
    wait_until_said(page, "status", "Encoding")
    wait_until_said(page, "status", "of dropped.mp4")
    assert page.locator("#psnr").inner_text() != before


def test_what_cannot_be_read_is_not_blamed_on_the_server(open_page: OpenPage, tmp_path: Path) -> None:
    page = open_page(expected_failures=True, viewport={"width": 320, "height": 640})
    gone = tmp_path / f"{'long' * 40}.mp4"
    gone.write_bytes(CITY.read_bytes())
    page.locator("input[type=file]").set_input_files(gone)
    wait_until_playing(page)
    gone.unlink()
    page.locator("#fit").select_option("pad")
    wait_until_said(page, "alert", "cannot be read")
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.setData("text/uri-list", "https://video.example/");
          document.body.dispatchEvent(
            new DragEvent("drop", { bubbles: true, cancelable: true, dataTransfer: transfer }));
        }"""
    )
    wait_until_said(page, "alert", "no file")


def test_a_change_is_told_and_undone_with_the_keyboard(open_page: OpenPage) -> None:
    page = open_page()
    page.get_by_role("button", name="Use the sample").click()
    wait_until_playing(page)
    page.get_by_label("Paint").check()
    page.locator("#code").fill("99999")
    page.keyboard.press("Tab")
    assert page.locator("#code").input_value() == "8191"  # the last code
    page.locator("#tokens").focus()
    page.keyboard.press("Enter")
    assert page.locator("#token-info").inner_text().startswith("Code 8191 in picture 1")
    page.keyboard.press("Control+z")
    assert page.get_by_role("button", name="Undo").is_disabled()
    assert not page.locator("#token-info").inner_text().startswith("Code 8191 ")


def test_nothing_moves_for_who_asked_for_less_motion(open_page: OpenPage) -> None:
    page = open_page(reduced_motion="reduce")
    page.get_by_role("button", name="Use the sample").click()
    wait_until_said(page, "status", "Ready")
    page.wait_for_timeout(300)
    assert page.evaluate("[...document.querySelectorAll('.frame video')].every((video) => video.paused)")
    page.get_by_role("button", name="Play").click()
    wait_until_playing(page)
