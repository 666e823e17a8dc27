from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cvivit.errors import ConfigError
from service.middleware.access import Keys

Opened = Callable[..., TestClient]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("# clients\nfirst-key\n\n  second-key  \n")
    return path


def test_any_of_several_keys_lets_in(open_app: Opened, keys: Path, video: bytes) -> None:
    client = open_app(api_keys_file=keys)
    for key in ("first-key", "second-key"):
        response = client.post("/encode", content=video, headers={"authorization": f"Bearer {key}"})
        assert response.status_code == 200


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer ", "Bearer third-key", "Basic first-key", "first-key", "Bearer # clients"],
)
@pytest.mark.parametrize("route", ["/encode", "/decode", "/info", "/docs", "/openapi.json", "/", "/nothing"])
def test_without_a_known_key_nothing_is_told(
    open_app: Opened, keys: Path, header: str | None, route: str
) -> None:
    client = open_app(api_keys_file=keys)
    response = client.post(route, headers={"authorization": header} if header is not None else {})
    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("content", ["\ufefffirst-key\r\n", "first-key", "\r\n\t first-key \t\r\n\r\n"])
def test_files_of_other_editors_hold_the_same_key(tmp_path: Path, content: str) -> None:
    path = tmp_path / "keys"
    path.write_bytes(content.encode())
    keys = Keys.from_file(path)
    assert keys.allow("first-key")
    assert not keys.allow("")


def test_a_key_may_be_of_any_letters(open_app: Opened, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes("schlüssel\n".encode())
    headers = {b"authorization": "Bearer schlüssel".encode()}
    assert open_app(api_keys_file=path).get("/info", headers=headers).status_code == 200


def test_health_is_open_and_metrics_by_setting(open_app: Opened, keys: Path) -> None:
    client = open_app(api_keys_file=keys)
    assert [client.get(route).status_code for route in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]
    closed = open_app(api_keys_file=keys, metrics_open=False)
    assert [closed.get(route).status_code for route in ("/livez", "/readyz", "/metrics")] == [200, 200, 401]


@pytest.mark.parametrize("content", [b"", b" \r\n\t\n", b"# only a comment\n", b"\xff\xfe", None])
def test_a_file_without_keys_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError):
        Keys.from_file(path)


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


@pytest.mark.parametrize("path", ["/docs", "/info", "/nothing"])
def test_every_answer_is_hardened(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
