import copy
import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient

from cvivit import TokenGrid, VideoTokenizer
from cvivit.weights import save_pretrained
from service.app import create_app
from service.settings import Settings

JSON = {"content-type": "application/json"}
BINARY = {"content-type": "application/octet-stream"}


@pytest.fixture
def grid(tokenizer: VideoTokenizer) -> TokenGrid:
    indices = np.random.default_rng(0).integers(0, 64, (3, 3, 4, 4))
    return TokenGrid(indices=indices, frames=12, fps=8.0, model=tokenizer.fingerprint)


def frames_in(video: bytes) -> list[av.VideoFrame]:
    with av.open(io.BytesIO(video), "r") as container:
        return list(container.decode(video=0))


@pytest.mark.parametrize(
    ("accept", "given", "name"),
    [
        (None, "video/mp4", "mov,mp4,m4a,3gp,3g2,mj2"),
        ("video/*;q=0.5, image/gif;q=0.1", "video/mp4", "mov,mp4,m4a,3gp,3g2,mj2"),
        ("video/webm", "video/webm", "matroska,webm"),
        ("image/gif", "image/gif", "gif"),
    ],
)
def test_a_video_of_the_type_that_is_accepted(
    client: TestClient, grid: TokenGrid, accept: str | None, given: str, name: str
) -> None:
    headers = JSON | ({"accept": accept} if accept else {})
    response = client.post("/decode", content=grid.to_json(), headers=headers)
    assert response.status_code == 200
    assert response.headers["content-type"] == given
    assert int(response.headers["content-length"]) == len(response.content)
    with av.open(io.BytesIO(response.content)) as container:
        assert container.format.name == name
    frames = frames_in(response.content)
    assert len(frames) == 12
    assert (frames[0].width, frames[0].height) == (32, 32)


def test_both_forms_give_the_same_video(client: TestClient, grid: TokenGrid) -> None:
    from_json = client.post("/decode", content=grid.to_json(), headers=JSON)
    from_binary = client.post("/decode", content=grid.to_bytes(), headers=BINARY)
    assert from_json.content == from_binary.content


def test_only_indices_are_required(client: TestClient, grid: TokenGrid) -> None:
    for indices, frames in ((grid.indices, 15), (grid.indices[0], 5)):
        response = client.post("/decode", json={"indices": indices.tolist()})
        assert response.status_code == 200
        assert len(frames_in(response.content)) == frames


@pytest.mark.parametrize(
    ("accept", "fps", "pictures"),
    [("image/gif", 50, 15), ("image/gif", 100, 8), ("video/mp4", 100, 15), ("video/webm", 100, 15)],
)
def test_only_a_gif_leaves_pictures_out_and_only_past_50_a_second(
    client: TestClient, grid: TokenGrid, accept: str, fps: float, pictures: int
) -> None:
    sent = {"indices": grid.indices.tolist(), "fps": fps}
    response = client.post("/decode", json=sent, headers={"accept": accept})
    assert len(frames_in(response.content)) == pictures


@pytest.mark.parametrize("unset", [["frames"], ["fps"], ["model"], ["shape"], ["frames", "fps", "model"]])
def test_null_means_unset(client: TestClient, grid: TokenGrid, unset: list[str]) -> None:
    sent = json.loads(grid.to_json()) | {"frames": 15}
    absent = {name: value for name, value in sent.items() if name not in unset}
    null = sent | dict.fromkeys(unset)
    assert client.post("/decode", json=null).content == client.post("/decode", json=absent).content


def test_null_indices_are_refused(client: TestClient, grid: TokenGrid) -> None:
    response = client.post("/decode", json=json.loads(grid.to_json()) | {"indices": None})
    assert (response.status_code, response.json()["code"]) == (422, "token_shape")


def test_tokens_of_another_model_are_refused(client: TestClient, grid: TokenGrid) -> None:
    response = client.post("/decode", json=json.loads(grid.to_json()) | {"model": "another"})
    assert (response.status_code, response.json()["code"]) == (409, "model_mismatch")


def test_tokens_of_weights_with_the_same_encoder_are_decoded(
    tokenizer: VideoTokenizer, grid: TokenGrid, tmp_path: Path
) -> None:
    tuned = copy.deepcopy(tokenizer.model)
    with torch.no_grad():
        tuned.get_parameter("to_pixels.0.bias").add_(1)
    save_pretrained(tuned, tmp_path, tokens_of=[tokenizer.fingerprint])
    served = VideoTokenizer.from_pretrained(tmp_path, device="cpu", precision="exact")
    assert served.fingerprint != grid.model
    foreign = dataclasses.replace(grid, model="f" * 64)
    with TestClient(create_app(Settings(), tokenizers=[served])) as client:
        assert client.get("/info").json()["tokens_of"] == [tokenizer.fingerprint]
        for headers, older, other in (
            (JSON, grid.to_json(), foreign.to_json()),
            (BINARY, grid.to_bytes(), foreign.to_bytes()),
        ):
            assert client.post("/decode", content=older, headers=headers).status_code == 200
            refused = client.post("/decode", content=other, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (409, "model_mismatch")


def nested(token: object) -> str:
    return json.dumps({"indices": [[[[token] * 4] * 4] * 3]})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"no json", 400),
        (b"\xff\xfe\x00", 400),
        (b'{"indices": ' + b"[" * 10_000 + b"]" * 10_000 + b"}", 400),
        (b"[1, 2]", 422),
        (b"{}", 422),
        (b'{"indices": []}', 422),
        (b'{"indices": [[[[]]]]}', 422),
        (b'{"indices": [[1, 2]]}', 422),
        (b'{"indices": [[[[1, 2], [3]]]]}', 422),
        (b'{"indices": "x"}', 422),
        (nested(1).replace("]]]]", "]]], [[[1]]]]").encode(), 422),
        (nested(-1).encode(), 422),
        (nested(64).encode(), 422),
        (nested(1.5).encode(), 422),
        (nested(float("nan")).encode(), 422),
        (nested(True).encode(), 422),
        (nested(2**63).encode(), 422),
        (nested(None).encode(), 422),
        *(
            (nested(1)[:-1].encode() + b', "fps": %s}' % fps, 422)
            for fps in (b"0", b"-1", b"NaN", b"1e6", b'"8"')
        ),
        *(
            (nested(1)[:-1].encode() + b', "frames": %s}' % frames, 422)
            for frames in (b"0", b"-1", b"6", b"1.5")
        ),
        (nested(1)[:-1].encode() + b', "shape": [9, 9, 9, 9]}', 422),
    ],
)
def test_bad_json_is_refused(client: TestClient, body: bytes, status: int) -> None:
    response = client.post("/decode", content=body, headers=JSON)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"x", b"\xff" * 100, (2**62).to_bytes(8, "little") + b"{}"])
def test_a_broken_binary_body_is_refused(client: TestClient, grid: TokenGrid, body: bytes) -> None:
    assert client.post("/decode", content=body, headers=BINARY).status_code == 422
    whole = grid.to_bytes()
    assert client.post("/decode", content=whole[:-1], headers=BINARY).status_code == 422
    assert client.post("/decode", content=whole + b"x", headers=BINARY).status_code == 422


def test_a_huge_grid_is_refused_before_it_is_allocated(client: TestClient) -> None:
    header = json.dumps(
        {"indices": {"dtype": "U16", "shape": [10**9, 3, 4, 4], "data_offsets": [0, 96 * 10**9]}}
    )
    body = len(header).to_bytes(8, "little") + header.encode()
    response = client.post("/decode", content=body, headers=BINARY)
    assert (response.status_code, response.json()["code"]) == (413, "too_many_tokens")


def test_one_token_too_many_is_refused(open_app: Callable[..., TestClient], grid: TokenGrid) -> None:
    assert open_app(max_tokens=144).post("/decode", content=grid.to_json(), headers=JSON).status_code == 200
    response = open_app(max_tokens=143).post("/decode", content=grid.to_json(), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (413, "too_many_tokens")


@pytest.mark.parametrize("content_type", ["text/plain", "", "multipart/form-data; boundary=x", "video/mp4"])
def test_a_body_of_another_type_is_refused(client: TestClient, grid: TokenGrid, content_type: str) -> None:
    response = client.post("/decode", content=grid.to_json(), headers={"content-type": content_type})
    assert (response.status_code, response.json()["code"]) == (415, "content_type")


def test_what_cannot_be_given_is_refused(client: TestClient, grid: TokenGrid) -> None:
    headers = JSON | {"accept": "video/x-msvideo"}
    response = client.post("/decode", content=grid.to_json(), headers=headers)
    assert (response.status_code, response.json()["code"]) == (406, "not_acceptable")
