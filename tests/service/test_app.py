import re
from collections.abc import Callable
from dataclasses import asdict
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from fastapi.testclient import TestClient

from cvivit import VideoTokenizer
from service.app import create_app
from service.server.sizes import Sizes
from service.settings import Settings


def test_an_app_runs_several_times(tokenizer: VideoTokenizer, video: bytes) -> None:
    app = create_app(Settings(), tokenizers=[tokenizer])
    for _ in range(3):
        with TestClient(app) as client:
            assert client.get("/readyz").status_code == 200
            assert client.post("/encode", content=video).status_code == 200


def test_the_documentation_comes_from_here_alone(client: TestClient) -> None:
    """A browser can show the documentation without the internet, and its policy allows no other source."""
    page = client.get("/docs")
    linked = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(linked) == 4
    for link in linked:
        assert not urlsplit(link).netloc
        answer = client.get(urljoin("/docs", link))
        assert answer.status_code == 200, link
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert "http" not in page.headers["content-security-policy"]
    assert "openapi.json" in client.get("/docs/start.js").text


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=abc", "lines=1-2", "bytes=5-2", "bytes=0-9"])
@pytest.mark.parametrize("name", ["favicon.png", "swagger-ui.css", "swagger-ui-bundle.js"])
def test_a_file_of_the_documentation_is_answered_whole(client: TestClient, name: str, wanted: str) -> None:
    """A server may ignore ranges (RFC 9110, section 14.2), so none of them is an error in plain text."""
    whole = client.get(f"/docs/{name}")
    answer = client.get(f"/docs/{name}", headers={"range": wanted})
    assert (answer.status_code, answer.content) == (200, whole.content)
    assert "accept-ranges" not in answer.headers


@pytest.mark.parametrize("name", ["redoc.standalone.js", "..%2fcore.py", "%2e%2e/core.py", "", "x"])
def test_no_other_file_is_answered(client: TestClient, name: str) -> None:
    assert client.get(f"/docs/{name}", follow_redirects=False).status_code in (307, 404)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/info", "/metrics", "/docs", "/errors"])
def test_head_is_answered_as_get_is_without_a_body(serve: Callable[..., Any], path: str) -> None:
    response = httpx.head(serve().url + path)
    assert (response.status_code, response.content) == (200, b"")
    assert int(response.headers["content-length"]) > 0


def test_a_route_without_get_has_no_head(client: TestClient) -> None:
    refused = client.head("/encode")
    assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/livez", "/docs", "/openapi.json"])
def test_a_route_with_get_says_that_it_has_head(client: TestClient, path: str) -> None:
    allowed = client.delete(path).headers["allow"].split(", ")
    assert sorted(allowed) == ["GET", "HEAD"]


def test_info_says_what_is_served(client: TestClient, tokenizer: VideoTokenizer) -> None:
    info = client.get("/info").json()
    assert (info["model"], info["tokens_of"]) == (tokenizer.fingerprint, [])
    assert (info["grid"], info["clip_frames"], info["fps"]) == ([3, 4, 4], 5, 8)
    assert info["codebook_size"] == 64
    sizes = Sizes.of(Settings())
    assert info["limits"] == Settings().limits() | {"decoder_memory_bytes": sizes.decoder_memory_bytes}
    assert info["sizes"] == asdict(sizes)
