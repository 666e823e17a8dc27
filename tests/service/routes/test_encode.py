import io
import json
from collections.abc import Callable

import numpy as np
import pytest
from fastapi.testclient import TestClient

from cvivit import TokenGrid, VideoTokenizer

LINES = {"accept": "application/x-ndjson"}


@pytest.fixture
def grid(tokenizer: VideoTokenizer, video: bytes) -> TokenGrid:
    """The tokens that the library gives for the same video."""
    return tokenizer.encode(io.BytesIO(video))


def test_json_is_what_the_library_makes(client: TestClient, video: bytes, grid: TokenGrid) -> None:
    for sent in ({"files": {"file": ("clip.mp4", video)}}, {"content": video}):
        response = client.post("/encode", **sent)
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.text == grid.to_json()


def test_safetensors_is_what_the_library_makes(client: TestClient, video: bytes, grid: TokenGrid) -> None:
    response = client.post("/encode", content=video, headers={"accept": "application/octet-stream"})
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.content == grid.to_bytes()


def test_lines_are_a_clip_each_and_a_summary(client: TestClient, video: bytes, grid: TokenGrid) -> None:
    response = client.post("/encode", content=video, headers=LINES)
    assert response.headers["content-type"] == "application/x-ndjson"
    *clips, summary = (json.loads(line) for line in response.text.splitlines())
    assert [line["clip"] for line in clips] == [0, 1, 2]
    assert np.array_equal([line["indices"] for line in clips], grid.indices)
    assert summary == {"model": grid.model, "shape": [3, 3, 4, 4], "frames": 12, "fps": 8.0}


@pytest.mark.parametrize("accept", ["application/json", "application/octet-stream", "application/x-ndjson"])
@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "empty_body"),
        (b"\0" * 5000, 415, "unsupported_media"),
        (b"<!doctype html><html></html>", 415, "unsupported_media"),
        (b"#EXTM3U\nhttp://127.0.0.1:9/a.ts\n", 415, "unsupported_media"),
    ],
)
def test_what_is_no_video_is_refused(
    client: TestClient, accept: str, body: bytes, status: int, code: str
) -> None:
    response = client.post("/encode", content=body, headers={"accept": accept})
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_truncated_video_is_refused(client: TestClient, video: bytes) -> None:
    response = client.post("/encode", content=video[: len(video) // 2])
    assert (response.status_code, response.json()["code"]) == (422, "corrupt_video")


def test_a_form_is_not_needed_but_must_hold_one_file(client: TestClient, video: bytes) -> None:
    two = [("file", ("a.mp4", video)), ("file", ("b.mp4", video))]
    for files in ({"other": ("a.mp4", video)}, two):
        response = client.post("/encode", files=files)
        assert (response.status_code, response.json()["code"]) == (400, "multipart")
    headers = {"content-type": "multipart/form-data"}
    response = client.post("/encode", content=video, headers=headers)
    assert (response.status_code, response.json()["code"]) == (400, "multipart")


def test_what_cannot_be_given_is_refused_before_the_body(client: TestClient) -> None:
    response = client.post("/encode", content=b"", headers={"accept": "text/html"})
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")


def test_several_accept_headers_are_one_list(client: TestClient, video: bytes) -> None:
    headers = [("accept", "text/html"), ("accept", "application/json")]
    assert client.post("/encode", content=video, headers=headers).status_code == 200


def test_one_byte_too_many_is_refused(open_app: Callable[..., TestClient], video: bytes) -> None:
    assert open_app(max_body_bytes=len(video)).post("/encode", content=video).status_code == 200
    response = open_app(max_body_bytes=len(video) - 1).post("/encode", content=video)
    assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    assert response.json()["limit"] == len(video) - 1


def test_a_body_on_disk_is_the_same_body(
    open_app: Callable[..., TestClient], video: bytes, grid: TokenGrid
) -> None:
    assert open_app(spool_bytes=0).post("/encode", content=video).text == grid.to_json()


@pytest.mark.parametrize(
    ("setting", "value"),
    [("max_pixels", 36 * 48 - 1), ("max_frames", 11), ("max_seconds", 1), ("max_clips", 2)],
)
def test_limits_of_a_video_are_kept(
    open_app: Callable[..., TestClient], video: bytes, setting: str, value: int
) -> None:
    response = open_app(**{setting: value}).post("/encode", content=video)
    assert (response.status_code, response.json()["code"]) == (413, "video_too_large")
    assert response.json()["limit"] == value


def test_a_stream_that_fails_midway_ends_with_its_problem(
    open_app: Callable[..., TestClient], make: Callable[..., bytes]
) -> None:
    response = open_app(max_clips=2).post("/encode", content=make(80), headers=LINES)
    *clips, last = (json.loads(line) for line in response.text.splitlines())
    if response.status_code == 200:
        assert [line["clip"] for line in clips] == list(range(len(clips)))
    assert last["code"] == "video_too_large"
