"""A real server with the demonstration weights, and a real Chromium that opens its page."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cvivit.video import ClipFormat, read_frames, write_video
from tests.places import DATA, ROOT

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
"""The browser of the system: Playwright's own would have to be downloaded."""

CITY = DATA / "city.mp4"
START_SECONDS = 120


@contextmanager
def served(*flags: str) -> Iterator[str]:
    """Run `python -m service` on a free port, and yield its URL."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CVIVIT_")}
    command = [sys.executable, "-m", "service", "--port", "0", "--model", "demo", *flags]
    with subprocess.Popen(command, cwd=ROOT, env=kept, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            url = ""
            for line in process.stderr:
                said = json.loads(line)
                if said["event"] == "serving":
                    url = said["url"]
                if said["event"] == "ready" or url:
                    break
            assert url, "the server did not start"
            # Read the rest of the log. Otherwise its pipe fills up, and the server waits to write more.
            threading.Thread(target=process.stderr.read, daemon=True).start()
            yield url
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=START_SECONDS)


def phone_clip(folder: Path, seconds: float = 3.0) -> Path:
    """Write a video as a phone makes it: upright 720p, 30 frames a second, H.264."""
    small = list(read_frames(CITY, ClipFormat(fps=30, image_size=(160, 90))))
    frames = [np.kron(small[n % len(small)], np.ones((8, 8, 1), np.uint8)) for n in range(int(seconds * 30))]
    file = io.BytesIO()
    write_video(frames, file, fps=30, container="mp4")
    path = folder / "phone.mp4"
    path.write_bytes(file.getvalue())
    return path


HAND_OVER = """
() => {
  const input = document.createElement("input");
  input.type = "file";
  input.id = "dragged";
  input.hidden = true;
  document.body.append(input);
}
"""
DROP = """
() => {
  const transfer = new DataTransfer();
  transfer.items.add(document.querySelector("#dragged").files[0]);
  for (const kind of ["dragenter", "dragover", "drop"]) {
    document.querySelector("#drop").dispatchEvent(
      new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: transfer }));
  }
  document.querySelector("#dragged").remove();
}
"""


def hold(page: Any, name: str, contents: bytes) -> None:
    """Give the browser a file, as if a person held it over the page with the mouse."""
    page.evaluate(HAND_OVER)
    page.locator("#dragged").set_input_files({"name": name, "mimeType": "video/mp4", "buffer": contents})


def drop(page: Any, name: str, contents: bytes) -> None:
    """Drop a file onto the page, as a person does with the mouse."""
    hold(page, name, contents)
    page.evaluate(DROP)


PLAYING = """
["original", "reconstruction"].every((name) => {
  const video = document.querySelector(`video[aria-label=${name}]`);
  return video && !video.paused && video.readyState >= 2 && video.currentTime > 0 && video.videoWidth > 0;
})
"""


def wait_until(page: Any, expression: str, seconds: float = 60) -> None:
    """Wait until a JavaScript expression is true.

    Playwright's own `wait_for_function` compiles its text in the page, which the page's policy forbids.
    """
    ends = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < ends, f"never true: {expression}; the page says {page.inner_text('main')!r}"
        page.wait_for_timeout(30)


def wait_until_playing(page: Any, seconds: float = 60) -> None:
    """Wait until both videos show moving pictures."""
    wait_until(page, PLAYING, seconds)


def wait_until_said(page: Any, role: str, words: str) -> None:
    """Wait until the element of a role contains some words."""
    wait_until(page, f"document.querySelector('[role={role}]').textContent.includes({json.dumps(words)})")
