"""Query parameters: what `fit` does, and that no unknown or ambiguous one is passed over."""

import io
from typing import Any

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


def test_every_route_refuses_a_parameter_that_it_does_not_know(client: TestClient) -> None:
    for path, operations in client.get("/openapi.json").json()["paths"].items():
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
        ("FIT=pad", "it takes fit"),
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
        (fit, *_) = paths[path]["post"]["parameters"]
        assert (fit["name"], fit["in"], fit["required"]) == ("fit", "query", False)
        assert fit["schema"]["enum"] == ["crop", "pad", "stretch"]
