"""The JavaScript example against a real server, in Node.js and in Chromium, as far as these are installed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from cvivit.video import read_frames
from tests.places import DATA, ROOT
from tests.service.web.browsing import CHROMIUM, served

SCRIPT = ROOT / "examples" / "call_service.js"
NODE = shutil.which("node")
KEY = "a-key-of-the-test-that-is-long-enough"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(KEY + "\n")
    with served("--api-keys-file", str(keys)) as url:
        yield url


def node(folder: Path, *arguments: str, key: str = KEY) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    return subprocess.run(
        [NODE, SCRIPT, *arguments], cwd=folder, env=os.environ | {"CVIVIT_KEY": key},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.skipif(NODE is None, reason="there is no Node.js: Chromium runs the script")
def test_in_node(server: str, tmp_path: Path) -> None:
    done = node(tmp_path, server + "/", str(DATA / "city.mp4"), "back.mp4")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("22 frames are 2 x 6 x 16 x 16 tokens")
    assert np.stack(list(read_frames(tmp_path / "back.mp4"))).shape == (22, 128, 128, 3)

    (tmp_path / "text.mp4").write_text("no video")
    refused = node(tmp_path, server, "text.mp4", "never.mp4")
    assert (refused.returncode, refused.stderr.split(":")[0]) == (1, "unsupported_media")
    assert node(tmp_path, server, "text.mp4", "never.mp4", key="wrong").stderr.startswith("unauthorized: ")
    assert node(tmp_path, "http://127.0.0.1:9", "text.mp4", "never.mp4").returncode == 1
    assert node(tmp_path, server).returncode == 2
    assert not (tmp_path / "never.mp4").exists()


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
@pytest.mark.slow
def test_in_a_browser(server: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        page = browser.new_page()
        page.goto(server)
        page.evaluate(SCRIPT.read_text() + "\nObject.assign(window, {encode, decode});")
        found = page.evaluate(
            """async ([url, video, key]) => {
                const bytes = Uint8Array.from(atob(video), (letter) => letter.charCodeAt(0));
                const tokens = await encode(url, new Blob([bytes]), {key, fit: "pad"});
                const mp4 = await decode(url, {indices: tokens.indices[0]}, {key});
                const wrong = await encode(url, new Blob(["no video"]), {key}).catch((error) => error);
                return JSON.stringify([tokens.shape, mp4.type, mp4.size, wrong.code, wrong.status]);
            }""",
            [server, base64.b64encode((DATA / "city.mp4").read_bytes()).decode(), KEY],
        )
        browser.close()
    shape, kind, size, code, status = json.loads(found)
    assert (shape, kind, code, status) == ([2, 6, 16, 16], "video/mp4", "unsupported_media", 415)
    assert size > 1000
