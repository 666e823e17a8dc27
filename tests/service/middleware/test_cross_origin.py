"""Pages of other origins: which may call the service, and the answer to those that may not."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

Opened = Callable[..., TestClient]


def test_other_origins_are_refused_by_default(client: TestClient) -> None:
    response = client.get("/info", headers={"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in response.headers


def test_origins_are_let_in_by_setting(open_app: Opened) -> None:
    client = open_app(cors_origins="https://page.example")
    asked = {"origin": "https://page.example", "access-control-request-method": "POST"}
    assert client.options("/encode", headers=asked).status_code == 200
    allowed = client.get("/nothing", headers={"origin": "https://page.example"})
    assert allowed.headers["access-control-allow-origin"] == "https://page.example"
    refused = client.get("/info", headers={"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in refused.headers


@pytest.mark.parametrize(
    ("origin", "headers"),
    [
        ("https://elsewhere.example", {"access-control-request-method": "POST"}),
        ("https://page.example", {"access-control-request-method": "DELETE"}),
        (
            "https://page.example",
            {"access-control-request-method": "POST", "access-control-request-headers": "x-other"},
        ),
    ],
)
def test_a_preflight_that_is_refused_is_a_problem(
    open_app: Opened, origin: str, headers: dict[str, str]
) -> None:
    client = open_app(cors_origins="https://page.example")
    refused = client.options("/encode", headers={"origin": origin} | headers)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json()["code"] == "cross_origin"
    assert "Origin" in refused.headers["vary"]
    assert ("access-control-allow-origin" in refused.headers) == (origin == "https://page.example")
    assert 'cvivit_rejections_total{code="cross_origin"} 1.0' in client.get("/metrics").text
