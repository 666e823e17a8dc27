"""Requests that ordinary clients send to a real server process, over real connections."""

from __future__ import annotations

import io
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from cvivit import TokenGrid, VideoTokenizer
from service.client import Client
from tests.service.server_process import ServerProcess

FILE = b'Content-Disposition: form-data; name="file"; filename="clip.mp4"'


@pytest.fixture(scope="module")
def url(tiny_weights: Path, video: bytes) -> Iterator[str]:
    server = ServerProcess(tiny_weights)
    server.start()
    try:
        with Client(server.url, retries=8) as client:
            client.encode(video)  # answered once the server is ready
        yield server.url
    finally:
        server.kill()


@pytest.fixture(scope="module")
def grid(tokenizer: VideoTokenizer, video: bytes) -> TokenGrid:
    return tokenizer.encode(video)


@pytest.mark.parametrize("boundary", ["frontier", '"frontier"', '"a b:c"', "=_?frontier"])
@pytest.mark.parametrize(
    "form",
    [
        b"--%(b)s\r\n%(file)s\r\n\r\n%(video)s\r\n--%(b)s--\r\n",
        b"A preamble for readers without MIME.\r\n--%(b)s\r\n%(file)s\r\n\r\n%(video)s\r\n--%(b)s--\r\n",
        b"--%(b)s \t \r\n%(file)s\r\n\r\n%(video)s\r\n--%(b)s-- \t\r\nepilogue",
        b"--%(b)s\r\n\r\nno headers\r\n--%(b)s  \r\n%(file)s\r\n\r\n%(video)s\r\n--%(b)s--",
    ],
)
def test_forms_that_rfc_2046_allows(
    url: str, grid: TokenGrid, video: bytes, boundary: str, form: bytes
) -> None:
    body = form % {b"b": boundary.strip('"').encode(), b"file": FILE, b"video": video}
    headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
    response = httpx.post(url + "/encode", content=body, headers=headers, timeout=60)
    assert (response.status_code, response.text) == (200, grid.to_json())


def test_several_content_types_are_refused(url: str, video: bytes) -> None:
    headers = [("content-type", "multipart/form-data; boundary=x"), ("content-type", "video/mp4")]
    for path in ("/encode", "/decode"):
        response = httpx.post(url + path, content=video, headers=headers, timeout=60)
        assert (response.status_code, response.json()["code"]) == (400, "malformed_request")


def test_null_means_unset(url: str, grid: TokenGrid) -> None:
    sent = {"indices": grid.indices.tolist(), "frames": None, "fps": None, "model": None}
    response = httpx.post(url + "/decode", json=sent, headers={"accept": "application/x-npy"}, timeout=60)
    assert np.load(io.BytesIO(response.content)).shape == (15, 32, 32, 3)


def test_a_misspelt_parameter_is_an_error(url: str, video: bytes) -> None:
    response = httpx.post(url + "/encode?fiit=pad", content=video, timeout=60)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert "it takes fit, start, seconds" in response.json()["detail"]


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_sends_a_file_and_takes_an_archive(
    url: str, grid: TokenGrid, video: bytes, tmp_path: Path
) -> None:
    (tmp_path / "clip.mp4").write_bytes(video)
    commands: list[list[str]] = [
        [
            "-F",
            "file=@clip.mp4",
            "-H",
            "Accept: application/octet-stream",
            "-o",
            "clip.tokens",
            f"{url}/encode",
        ],
        [
            *("--data-binary", "@clip.tokens", "-H", "Content-Type: application/octet-stream"),
            *("-H", "Accept: application/zip", "-o", "clips.zip", f"{url}/decode"),
        ],
    ]
    for arguments in commands:
        subprocess.run(["curl", "--fail", "-sS", *arguments], cwd=tmp_path, check=True, timeout=60)
    assert TokenGrid.load(tmp_path / "clip.tokens") == grid
    with zipfile.ZipFile(tmp_path / "clips.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["clip-00000.mp4", "clip-00001.mp4", "clip-00002.mp4"]


def test_a_short_form_is_refused(url: str, video: bytes) -> None:
    body = b"--frontier\r\n" + FILE + b"\r\n\r\n" + video
    headers = {"content-type": "multipart/form-data; boundary=frontier"}
    response = httpx.post(url + "/encode", content=body, headers=headers, timeout=60)
    assert (response.status_code, response.json()["code"]) == (400, "multipart")
