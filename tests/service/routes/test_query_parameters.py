"""Query parameters: what they do, and that an unknown or ambiguous one is an error."""

import io
from typing import Any

import av
import pytest
from fastapi.testclient import TestClient

from cvivit import VideoTokenizer


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_fit_is_that_of_the_library(
    client: TestClient, tokenizer: VideoTokenizer, video: bytes, fit: Any
) -> None:
    expected = tokenizer.encode(io.BytesIO(video), fit=fit)
    assert client.post("/encode", params={"fit": fit}, content=video).text == expected.to_json()
    headers = {"accept": "application/octet-stream"}
    response = client.post(f"/encode?fit={fit}", files={"file": video}, headers=headers)
    assert response.content == expected.to_bytes()


def test_fits_differ(client: TestClient, video: bytes) -> None:
    answers = {client.post(f"/encode?fit={fit}", content=video).text for fit in ("crop", "pad", "stretch")}
    assert len(answers) == 3
    videos = {client.post(f"/reconstruct?fit={fit}", content=video).content for fit in ("crop", "pad")}
    assert len(videos) == 2


@pytest.mark.parametrize(
    ("start", "seconds"), [(0.0, None), (0.5, None), (0.0, 0.5), (0.5, 0.75), (1.4, 100.0)]
)
def test_a_part_of_a_video_is_that_of_the_library(
    client: TestClient, tokenizer: VideoTokenizer, video: bytes, start: float, seconds: float | None
) -> None:
    expected = tokenizer.encode(io.BytesIO(video), start=start, seconds=seconds)
    sent = {"start": start} | ({} if seconds is None else {"seconds": seconds})
    assert client.post("/encode", params=sent, content=video).text == expected.to_json()


def test_a_part_of_a_video_is_reconstructed(client: TestClient, video: bytes) -> None:
    response = client.post("/reconstruct?start=0.25&seconds=0.5", content=video)
    with av.open(io.BytesIO(response.content), "r") as container:
        assert len(list(container.decode(video=0))) == 4


@pytest.mark.parametrize("start", [10, 1e9])
def test_a_part_after_the_end_is_an_error(client: TestClient, video: bytes, start: float) -> None:
    for path in ("/encode", "/reconstruct"):
        response = client.post(path, params={"start": start}, content=video)
        assert (response.status_code, response.json()["code"]) == (422, "empty_video")


@pytest.mark.parametrize("seconds", [1e-300, 1e9])
def test_any_length_is_read(client: TestClient, video: bytes, seconds: float) -> None:
    assert client.post("/encode", params={"seconds": seconds}, content=video).status_code == 200


FOR_MONITORS = ("/livez", "/readyz", "/health", "/metrics")


@pytest.mark.parametrize("path", FOR_MONITORS)
def test_monitors_may_add_parameters_of_their_own(client: TestClient, path: str) -> None:
    """Some add a number to avoid caches. Refusing it would look like a service that has failed."""
    assert client.get(path, params={"t": 1732968000}).status_code == 200


def test_every_route_refuses_a_parameter_that_it_does_not_know(client: TestClient) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        if path in FOR_MONITORS:
            continue
        for method, operation in operations.items():
            known = [each["name"] for each in operation.get("parameters", [])]
            response = client.request(method, path, params={"fitt": "pad"})
            problem = response.json()
            assert (response.status_code, problem["code"]) == (422, "invalid_parameter"), (method, path)
            assert '"fitt"' in problem["detail"]
            assert all(name in problem["detail"] for name in known)
            assert "422" in operation["responses"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("fit=foo", "'crop', 'pad' or 'stretch'"),
        ("fit=", "'crop', 'pad' or 'stretch'"),
        ("fit", "'crop', 'pad' or 'stretch'"),
        ("FIT=pad", "it takes fit, start, seconds"),
        ("start=-1", "start: Input should be greater than or equal to 0"),
        ("start=1e300", "start: Input should be less than or equal to 1000000000"),
        ("start=nan", "start: Input should be a finite number"),
        ("start=inf", "start: Input should be a finite number"),
        ("start=1s", "start: Input should be a valid number"),
        ("start=", "start: Input should be a valid number"),
        ("seconds=0", "seconds: Input should be greater than 0"),
        ("seconds=-1", "seconds: Input should be greater than 0"),
        ("seconds=null", "seconds: Input should be a valid number"),
        ("seconds=1&seconds=2", "twice"),
        ("fit=pad&fit=pad", "twice"),
        ("fit=pad&fit=crop", "twice"),
        ("fit=pad&x%00=%0a", "it takes fit"),
        ("%F0%9F%8E%AC", "it takes fit"),
    ],
)
@pytest.mark.parametrize("path", ["/encode", "/reconstruct"])
def test_a_bad_parameter_is_named_with_what_was_expected(
    client: TestClient, video: bytes, path: str, query: str, said: str
) -> None:
    response = client.post(f"{path}?{query}", content=video)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_parameter")
    assert said in response.json()["detail"]


def test_decode_takes_no_parameters(client: TestClient) -> None:
    response = client.post("/decode?fit=pad", json={"indices": []})
    assert response.json()["detail"] == 'this route has no query parameter "fit"; it takes none'


def test_a_page_may_have_any_parameter(client: TestClient) -> None:
    """Sites add parameters of their own to a link, such as `utm_source`."""
    assert client.get("/docs?utm_source=x").status_code == 200


def test_the_document_lists_the_parameters(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path in ("/encode", "/reconstruct"):
        fit, start, seconds = paths[path]["post"]["parameters"]
        assert (fit["name"], start["name"], seconds["name"]) == ("fit", "start", "seconds")
        assert (fit["in"], fit["required"]) == ("query", False)
        assert fit["schema"]["enum"] == ["crop", "pad", "stretch"]
