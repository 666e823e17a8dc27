"""The server behind real proxies: prefixes that are stripped or kept, trusted headers, reused connections."""

import contextlib
import io
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest

from tests.service.server.proxies import haproxy, missing, nginx

Serve = Callable[..., Any]

STRIPS = "location /video/ { proxy_pass http://service/; }"
KEEPS = "location /video { proxy_pass http://service; }"
NAMES_IT = "location /video/ { proxy_pass http://service/; proxy_set_header X-Forwarded-Prefix /video; }"

no_nginx = pytest.mark.skipif(missing("nginx"), reason="there is no nginx on this machine")
no_haproxy = pytest.mark.skipif(missing("haproxy"), reason="there is no haproxy on this machine")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def check_that_everything_stays_below(url: str, video: bytes) -> None:
    """Follow every link, redirect and reference that a client of the service would follow.

    Args:
        url: the URL of the service as its clients see it, with a slash at the end.
        video: a video to send.
    """
    prefix = urlsplit(url).path
    with httpx.Client(timeout=60, follow_redirects=True) as client:
        first = client.get(url)
        assert first.status_code == 200
        assert all(str(step.url).startswith(url) for step in [first, *first.history])
        page = client.get(url + "docs")
        for shown in (first, page):
            links = re.findall(r'(?:src|href)="([^"#]+)', shown.text)
            own = [urljoin(str(shown.url), link) for link in links if not urlsplit(link).netloc]
            assert len(own) > 3
            assert all(link.startswith(url) and client.get(link).status_code == 200 for link in own)
        script = client.get(url + "docs/start.js").text
        found = re.search(r'url: "([^"]+)"', script)
        assert found is not None
        document = client.get(urljoin(str(page.url), found.group(1))).json()
        (described,) = document["servers"]
        assert urljoin(str(page.url), described["url"]).rstrip("/") == url.rstrip("/")
        answer = client.post(url + "encode", content=video)
        assert answer.status_code == 200
        problem = client.post(url + "encode", content=b"no video")
        body = problem.json()
        assert (problem.status_code, body["instance"]) == (415, prefix + "encode")
        explained = client.get(urljoin(str(problem.url), body["type"]))
        assert explained.status_code == 200
        assert str(explained.url).startswith(url + "errors")
        assert body["type"].partition("#")[2] in explained.text
        nowhere = client.get(url + "nowhere")
        assert (nowhere.status_code, nowhere.json()["type"]) == (404, prefix + "errors#not_found")


@no_nginx
@pytest.mark.parametrize("locations", [STRIPS, KEEPS])
def test_a_prefix_works_whether_nginx_strips_it_or_not(
    serve: Serve, stack: ExitStack, tmp_path: Path, video: bytes, locations: str
) -> None:
    server = serve(root_path="/video")
    port = stack.enter_context(nginx(tmp_path, f"127.0.0.1:{server.port}", locations))
    check_that_everything_stays_below(f"http://127.0.0.1:{port}/video/", video)
    without_slash = httpx.get(f"http://127.0.0.1:{port}/video", follow_redirects=True)
    assert (without_slash.status_code, without_slash.url.path) == (200, "/video/")
    assert server.get("/readyz")[0] == 200  # not through the proxy, as a health check asks


@no_nginx
def test_a_trusted_nginx_names_the_prefix(
    serve: Serve, stack: ExitStack, tmp_path: Path, video: bytes
) -> None:
    server = serve(trusted_proxies="127.0.0.0/8")
    port = stack.enter_context(nginx(tmp_path, f"127.0.0.1:{server.port}", NAMES_IT))
    check_that_everything_stays_below(f"http://127.0.0.1:{port}/video/", video)


@no_nginx
def test_a_stranger_names_no_prefix(serve: Serve, stack: ExitStack, tmp_path: Path) -> None:
    server = serve(trusted_proxies="10.0.0.1")
    port = stack.enter_context(nginx(tmp_path, f"127.0.0.1:{server.port}", NAMES_IT))
    problem = httpx.get(f"http://127.0.0.1:{port}/video/nowhere").json()
    assert problem["type"] == "/errors#not_found"


@no_nginx
def test_nginx_over_a_unix_socket(serve: Serve, stack: ExitStack, tmp_path: Path, video: bytes) -> None:
    serve(uds=tmp_path / "socket", trusted_proxies="unix")
    port = stack.enter_context(nginx(tmp_path, f"unix:{tmp_path / 'socket'}", NAMES_IT))
    check_that_everything_stays_below(f"http://127.0.0.1:{port}/video/", video)


@no_haproxy
@pytest.mark.parametrize(
    "rules",
    [
        "",
        r"http-request replace-path /video(/)?(.*) /\2"
        + "\n  http-request set-header X-Forwarded-Prefix /video",
    ],
)
def test_haproxy_checks_reuses_and_strips(
    serve: Serve, stack: ExitStack, tmp_path: Path, video: bytes, rules: str
) -> None:
    server = serve(**({"trusted_proxies": "127.0.0.1"} if rules else {"root_path": "/video"}))
    port = stack.enter_context(haproxy(tmp_path, f"127.0.0.1:{server.port}", rules))
    check_that_everything_stays_below(f"http://127.0.0.1:{port}/video/", video)


@no_haproxy
def test_a_slow_body_through_haproxy_is_one_request(
    serve: Serve, stack: ExitStack, tmp_path: Path, video: bytes
) -> None:
    port = stack.enter_context(haproxy(tmp_path, f"127.0.0.1:{serve().port}"))

    def pieces() -> Iterator[bytes]:
        file = io.BytesIO(video)
        while piece := file.read(3000):
            yield piece

    for _ in range(3):
        assert httpx.post(f"http://127.0.0.1:{port}/encode", content=pieces(), timeout=60).status_code == 200


def forwarded(headers: dict[str, str], **settings: Any) -> dict[str, Any]:
    """What a request looks like to the app, once the middleware has rewritten it."""
    import asyncio

    from service.middleware.proxy import ProxyMiddleware

    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope)

    given = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope = {
        "type": "http",
        "path": settings.pop("path", "/encode"),
        "scheme": "http",
        "client": settings.pop("client", ("10.0.0.1", 5)),
        "headers": [(b"host", b"inner:8000"), *given],
    }
    middleware = ProxyMiddleware(app, **{"trusted": ("10.0.0.0/8",)} | settings)
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(middleware(scope, None, None))  # type: ignore[arg-type]
    return seen


EVERYTHING = {
    "X-Forwarded-Prefix": "/video",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "videos.example",
    "X-Forwarded-For": "203.0.113.9",
}


def test_a_trusted_proxy_is_believed() -> None:
    seen = forwarded(EVERYTHING)
    assert (seen["root_path"], seen["path"], seen["scheme"]) == ("/video", "/video/encode", "https")
    assert [value for name, value in seen["headers"] if name == b"host"] == [b"videos.example"]
    assert seen["client"] == ("203.0.113.9", 0)


@pytest.mark.parametrize("client", [("203.0.113.1", 5), ("::1", 5), None, ("testclient", 5)])
def test_anyone_else_is_not(client: Any) -> None:
    seen = forwarded(EVERYTHING, client=client)
    assert (seen.get("root_path"), seen["path"], seen["scheme"]) == (None, "/encode", "http")
    assert (b"host", b"inner:8000") in seen["headers"]
    assert seen["client"] == client


@pytest.mark.parametrize(
    ("trusted", "client"),
    [("unix", None), ("*", ("203.0.113.1", 5)), ("*", None), ("10.0.0.0/8", ("::ffff:10.0.0.1", 5))],
)
def test_who_may_be_trusted(trusted: str, client: Any) -> None:
    assert forwarded(EVERYTHING, trusted=(trusted,), client=client)["root_path"] == "/video"


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-Prefix": "//evil.example"},
        {"X-Forwarded-Prefix": "https://evil.example/"},
        {"X-Forwarded-Prefix": "/a/../b"},
        {"X-Forwarded-Prefix": '/"><script>'},
        {"X-Forwarded-Proto": "javascript"},
        {"X-Forwarded-Host": "evil.example/path"},
        {"X-Forwarded-Host": "user@evil.example"},
        {"X-Forwarded-For": "not an address"},
        dict.fromkeys(EVERYTHING, ""),
        dict.fromkeys(EVERYTHING, " , ,"),
    ],
)
def test_what_is_not_well_formed_is_ignored(headers: dict[str, str]) -> None:
    seen = forwarded(headers)
    assert (seen.get("root_path"), seen["path"], seen["scheme"]) == (None, "/encode", "http")
    assert [value for name, value in seen["headers"] if name == b"host"] == [b"inner:8000"]
    assert seen["client"] == ("10.0.0.1", 5)


def test_of_several_proxies_the_outermost_spoke_to_the_client() -> None:
    headers = {
        "X-Forwarded-Prefix": "/outer, /inner",
        "X-Forwarded-Proto": "https, http",
        "X-Forwarded-Host": "videos.example, inner.example",
        "X-Forwarded-For": "198.51.100.66, 203.0.113.9, 10.0.0.3",
    }
    seen = forwarded(headers)
    assert (seen["root_path"], seen["scheme"], seen["client"][0]) == ("/outer/inner", "https", "203.0.113.9")
    assert (b"host", b"videos.example") in seen["headers"]


@pytest.mark.parametrize(
    ("path", "full"),
    [
        ("/encode", "/video/encode"),
        ("/video/encode", "/video/encode"),
        ("/videos", "/video/videos"),
        ("/", "/video/"),
    ],
)
def test_a_prefix_is_added_once(path: str, full: str) -> None:
    assert forwarded({}, root_path="/video", path=path)["path"] == full


@pytest.mark.parametrize("prefix", ["/encode", "/docs/inner", "/errors", "/openapi.json"])
def test_a_prefix_that_is_a_route_is_refused(open_app: Callable[..., Any], prefix: str) -> None:
    from cvivit.errors import ConfigError

    with pytest.raises(ConfigError, match="root_path: "):
        open_app(root_path=prefix)
