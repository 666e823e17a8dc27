"""/decode by `Accept`: archives of videos and arrays of pixels, and what happens if they fail midway."""

import io
import threading
import zipfile
from collections.abc import Callable
from typing import Any

import av
import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient

from cvivit import TokenGrid, VideoTokenizer
from tests.marks import slow

ZIP = {"accept": "application/zip"}
PIXELS = {"accept": "application/x-npy"}
BINARY = {"content-type": "application/octet-stream"}


def make_grid(tokenizer: VideoTokenizer, *, clips: int, frames: int, fps: float = 8.0) -> TokenGrid:
    indices = np.random.default_rng(0).integers(0, 64, (clips, 3, 4, 4))
    return TokenGrid(indices=indices, frames=frames, fps=fps, model=tokenizer.fingerprint)


def decode(client: TestClient, grid: TokenGrid, headers: dict[str, str]) -> Any:
    response = client.post("/decode", content=grid.to_bytes(), headers=BINARY | headers)
    assert response.status_code == 200
    return response


def frames_in(video: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(video), "r") as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(("clips", "frames"), [(1, 1), (1, 5), (3, 11), (3, 15), (70, 346)])
def test_pixels_are_what_the_library_decodes(
    client: TestClient, tokenizer: VideoTokenizer, clips: int, frames: int
) -> None:
    grid = make_grid(tokenizer, clips=clips, frames=frames)
    response = decode(client, grid, PIXELS)
    assert response.headers["content-type"] == "application/x-npy"
    assert int(response.headers["content-length"]) == len(response.content)
    pixels = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (frames, 32, 32, 3))
    assert np.array_equal(pixels, tokenizer.decode(grid))


@pytest.mark.parametrize(("clips", "frames", "fps"), [(1, 5, 8.0), (3, 11, 8.0), (70, 350, 0.5)])
def test_an_archive_holds_a_video_for_each_clip(
    client: TestClient, tokenizer: VideoTokenizer, clips: int, frames: int, fps: float
) -> None:
    grid = make_grid(tokenizer, clips=clips, frames=frames, fps=fps)
    response = decode(client, grid, ZIP)
    assert response.headers["content-type"] == "application/zip"
    assert "content-length" not in response.headers
    expected = tokenizer.decode(grid)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [f"clip-{index:05d}.mp4" for index in range(clips)]
        for index, member in enumerate(archive.infolist()):
            assert member.compress_type == zipfile.ZIP_STORED
            assert not member.flag_bits & 0x08  # sizes come first, so the archive can be streamed
            assert member.external_attr >> 16 == 0o100644
            shown = frames_in(archive.read(member))
            originals = expected[index * 5 : index * 5 + 5]
            assert len(shown) == len(originals)  # the last clip ends where `frames` ends
            assert np.abs(np.mean(shown) - np.mean(originals)) < 5


def test_equal_tokens_give_equal_archives(client: TestClient, tokenizer: VideoTokenizer) -> None:
    grid = make_grid(tokenizer, clips=2, frames=10)
    assert decode(client, grid, ZIP).content == decode(client, grid, ZIP).content


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("application/x-npy, */*", "application/x-npy"),
        ("application/zip;q=0.5, application/x-npy", "application/x-npy"),
        ("application/*", "application/zip"),
        ("application/json, application/zip;q=0.1", "application/zip"),
        ("*/*", "video/mp4"),
        ("application/x-npy;q=0, application/zip;q=0, image/*", "image/gif"),
    ],
)
def test_negotiation_knows_all_types(
    client: TestClient, tokenizer: VideoTokenizer, accept: str, given: str
) -> None:
    response = decode(client, make_grid(tokenizer, clips=1, frames=5), {"accept": accept})
    assert response.headers["content-type"] == given


@pytest.mark.parametrize("accept", ["application/zip", "application/x-npy"])
def test_a_huge_grid_is_refused_before_it_is_allocated(client: TestClient, accept: str) -> None:
    header = b'{"indices":{"dtype":"U16","shape":[1000000000,3,4,4],"data_offsets":[0,96000000000]}}'
    body = len(header).to_bytes(8, "little") + header
    response = client.post("/decode", content=body, headers=BINARY | {"accept": accept})
    assert (response.status_code, response.json()["code"]) == (413, "too_many_tokens")


@pytest.mark.parametrize("accept", ["application/zip", "application/x-npy"])
def test_a_request_that_fails_at_once_has_a_status(
    serve_gated: Callable[..., Any], gate: Any, tokenizer: VideoTokenizer, accept: str
) -> None:
    server = serve_gated()
    gate.failure = ValueError("a bug in the network")
    gate.opened.set()
    content = make_grid(tokenizer, clips=2, frames=10).to_bytes()
    response = httpx.post(server.url + "/decode", content=content, headers=BINARY | {"accept": accept})
    assert (response.status_code, response.json()["code"]) == (500, "clip_failed")


@pytest.mark.parametrize("accept", ["application/zip", slow("application/x-npy")])
def test_a_stream_that_fails_midway_is_cut(
    serve_gated: Callable[..., Any], gate: Any, tokenizer: VideoTokenizer, accept: str
) -> None:
    """The client can tell that the answer is incomplete, and the server goes on."""
    server = serve_gated()
    gate.free = 1
    gate.failure = ValueError("a bug in the network")
    content = make_grid(tokenizer, clips=300, frames=1500).to_bytes()
    request: dict[str, Any] = {"content": content, "headers": BINARY | {"accept": accept}}
    with httpx.Client(timeout=60) as client:
        with client.stream("POST", server.url + "/decode", **request) as response:
            assert response.status_code == 200
            received = response.iter_raw()
            next(received)
            threading.Timer(0.1, gate.opened.set).start()
            with pytest.raises(httpx.RemoteProtocolError):
                list(received)
        gate.failure = None
        response = client.post(server.url + "/decode", **request)
        assert response.status_code == 200
    lines = server.get("/readyz")
    assert lines[0] == 200


@pytest.mark.parametrize("accept", ["application/zip", "application/x-npy"])
def test_a_client_that_leaves_midway_frees_its_place(
    serve_gated: Callable[..., Any],
    gate: Any,
    tokenizer: VideoTokenizer,
    eventually: Callable[[Callable[[], bool]], None],
    accept: str,
) -> None:
    server = serve_gated()
    gate.free = 1
    content = make_grid(tokenizer, clips=300, frames=1500).to_bytes()
    with httpx.stream(
        "POST", server.url + "/decode", content=content, headers=BINARY | {"accept": accept}, timeout=60
    ) as response:
        next(response.iter_raw())
    gate.opened.set()
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)
    eventually(lambda: not server.app_state.engine.snapshot().queued.get("decode", 0))
