"""Requests that need a key, pages that need none, and the headers that every answer has."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from cvivit import VideoTokenizer
from service.app import create_app
from service.settings import Settings

Opened = Callable[..., TestClient]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("access") / "keys"
    path.write_text("# clients\nfirst-key\n\n  second-key  \n")
    return path


@pytest.fixture(scope="module")
def locked(keys: Path, tokenizer: VideoTokenizer) -> Iterator[TestClient]:
    """An app that asks for keys, shared by the tests that do not change its state."""
    app = create_app(Settings(decoders=1, api_keys_file=keys), tokenizers=[tokenizer])
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_any_of_several_keys_lets_in(locked: TestClient, video: bytes) -> None:
    for key in ("first-key", "second-key"):
        response = locked.post("/encode", content=video, headers={"authorization": f"Bearer {key}"})
        assert response.status_code == 200


@pytest.mark.parametrize(
    "header",
    [None, "Bearer", "Bearer ", "Bearer third-key", "Basic first-key", "first-key", "Bearer # clients"],
)
@pytest.mark.parametrize("route", ["/encode", "/decode", "/info", "/docs", "/openapi.json", "/", "/nothing"])
def test_without_a_known_key_nothing_is_posted(locked: TestClient, header: str | None, route: str) -> None:
    response = locked.post(route, headers={"authorization": header} if header is not None else {})
    assert response.status_code == 401
    assert response.json()["code"] == "unauthorized"
    assert response.headers["www-authenticate"] == "Bearer"


def test_a_key_may_be_of_any_letters(open_app: Opened, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_bytes("schlüssel\n".encode())
    headers = {b"authorization": "Bearer schlüssel".encode()}
    assert open_app(api_keys_file=path).get("/info", headers=headers).status_code == 200


@pytest.mark.parametrize("route", ["/info", "/nothing", "/docs2", "/encode", "/docsx/start.js", "//docs/x"])
def test_what_is_no_open_page_is_not_read_without_a_key(locked: TestClient, route: str) -> None:
    assert locked.get(route).status_code == 401


@pytest.mark.parametrize(
    "route", ["/", "/docs", "/docs/start.js", "/docs/swagger-ui.css", "/openapi.json", "/errors", "/health"]
)
def test_pages_and_health_are_read_without_a_key(locked: TestClient, route: str) -> None:
    assert locked.get(route).status_code == locked.head(route).status_code == 200


def test_the_document_lets_a_browser_send_a_key(locked: TestClient) -> None:
    """Swagger's "Authorize" needs a scheme, and routes that ask for it."""
    document = locked.get("/openapi.json").json()
    scheme = document["components"]["securitySchemes"]["key"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"] == [{"key": []}]
    assert document["paths"]["/health"]["get"]["security"] == []
    assert "security" not in document["paths"]["/encode"]["post"]


def test_health_is_open_and_metrics_by_setting(open_app: Opened, locked: TestClient, keys: Path) -> None:
    assert [locked.get(route).status_code for route in ("/livez", "/readyz", "/metrics")] == [200, 200, 200]
    closed = open_app(api_keys_file=keys, metrics_open=False)
    assert [closed.get(route).status_code for route in ("/livez", "/readyz", "/metrics")] == [200, 200, 401]


@pytest.mark.parametrize("path", ["/docs", "/info", "/nothing"])
def test_every_answer_is_hardened(client: TestClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"


def test_frames_are_let_in_by_setting(open_app: Opened) -> None:
    client = open_app(frame_ancestors="self, https://Page.example/")
    for path in ("/docs", "/errors", "/info", "/nothing"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert policy.count("frame-ancestors") == 1, path
        assert "frame-ancestors 'self' https://page.example" in policy
        assert "x-frame-options" not in headers
