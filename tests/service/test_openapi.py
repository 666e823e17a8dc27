"""The OpenAPI document. Schemathesis sends random requests and checks that it describes every answer."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cvivit import VideoTokenizer
from service.bodies.media_types import MP4

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


OPERATIONS = [
    ("POST", "/encode"),
    ("POST", "/decode"),
    ("POST", "/reconstruct"),
    ("GET", "/info"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/health"),
    ("GET", "/metrics"),
]


@pytest.mark.parametrize(
    "mode",
    [
        schemathesis.GenerationMode.POSITIVE,
        pytest.param(schemathesis.GenerationMode.NEGATIVE, marks=pytest.mark.slow),
    ],
)
def test_no_answer_is_undocumented(serve: Callable[..., Any], mode: schemathesis.GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(serve().url + "/openapi.json")
    for method, path in OPERATIONS:
        operation = schema[path][method]
        if mode is schemathesis.GenerationMode.NEGATIVE and method == "GET":
            continue  # a request without a body has nothing that could be wrong

        @settings(
            max_examples=40,
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def call(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        call()


def test_every_route_says_what_it_may_answer(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/encode",
        "/decode",
        "/reconstruct",
        "/info",
        "/livez",
        "/readyz",
        "/health",
        "/metrics",
    }
    for path in ("/encode", "/decode", "/reconstruct"):
        answers = document["paths"][path]["post"]["responses"]
        assert {"200", "400", "406", "408", "413", "415", "422", "429", "500", "503"} <= set(answers)
        assert all(
            "application/problem+json" in answers[status]["content"] for status in answers if status != "200"
        )
    assert {"200", "409"} <= set(document["paths"]["/decode"]["post"]["responses"])
    assert MP4 in document["paths"]["/reconstruct"]["post"]["responses"]["200"]["content"]


def test_the_examples_of_tokens_are_decoded(client: TestClient, tokenizer: VideoTokenizer) -> None:
    """The examples of the document can be sent to `/decode` without a change."""
    paths = client.get("/openapi.json").json()["paths"]
    taken = paths["/decode"]["post"]["requestBody"]["content"]["application/json"]["example"]
    answered = paths["/encode"]["post"]["responses"]["200"]["content"]["application/json"]["example"]
    assert "model" not in taken
    assert answered["model"] == tokenizer.fingerprint
    for example in (taken, answered):
        response = client.post("/decode", json=example)
        assert (response.status_code, response.headers["content-type"]) == (200, MP4), response.text


def test_the_bounds_of_fps_are_those_that_hold(client: TestClient) -> None:
    body = client.get("/openapi.json").json()["paths"]["/decode"]["post"]["requestBody"]
    fps = body["content"]["application/json"]["schema"]["properties"]["fps"]
    indices = body["content"]["application/json"]["example"]["indices"]
    for value in (fps["minimum"], fps["maximum"]):
        assert client.post("/decode", json={"indices": indices, "fps": value}).status_code == 200
    for value in (fps["minimum"] / 1.01, fps["maximum"] * 1.01):
        assert client.post("/decode", json={"indices": indices, "fps": value}).status_code == 422


def test_the_document_asks_for_a_key_where_the_service_does(
    open_app: Callable[..., TestClient], client: TestClient, tmp_path_factory: pytest.TempPathFactory
) -> None:
    without = client.get("/openapi.json").json()
    assert "security" not in without
    assert not any("401" in op["responses"] for ops in without["paths"].values() for op in ops.values())
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("one\n")
    document = (
        open_app(api_keys_file=keys).get("/openapi.json", headers={"authorization": "Bearer one"}).json()
    )
    assert document["security"] == [{"key": []}]
    for path, asks in (("/info", True), ("/encode", True), ("/livez", False), ("/metrics", False)):
        (operation,) = document["paths"][path].values()
        assert ("401" in operation["responses"], operation.get("security")) == (asks, None if asks else [])
