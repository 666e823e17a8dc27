"""How origins, prefixes and addresses are written: one form each, or a refusal."""

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://page.example", "https://page.example"),
        ("https://page.example/", "https://page.example"),
        ("HTTPS://Page.Example", "https://page.example"),
        ("https://page.example:443", "https://page.example"),
        ("http://page.example:80/", "http://page.example"),
        ("http://page.example:443", "http://page.example:443"),
        ("http://LOCALHOST:3000", "http://localhost:3000"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("http://[0:0::1]", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("*", "*"),
    ],
)
def test_an_origin_is_what_a_browser_sends(written: str, sent: str) -> None:
    assert Settings.model_validate({"cors_origins": written}).cors_origins == (sent,)


@pytest.mark.parametrize(
    "written",
    [
        "page.example",
        "localhost:3000",
        "//page.example",
        "https://",
        "https:///",
        "https://page.example/app",
        "https://page.example?x=1",
        "https://page.example#top",
        "https://user@page.example",
        "https://page.example:port",
        "https://page.example:70000",
        "https://*.page.example",
        "https://page example",
        "null",
        '["https://page.example"]',
        "https://page.example;https://other.example",
        "https://page.example https://other.example",
    ],
)
def test_what_no_browser_sends_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings.model_validate({"cors_origins": written})


def test_origins_that_are_the_same_are_one() -> None:
    assert Settings.model_validate(
        {"cors_origins": "https://a.example, ,https://A.example/,"}
    ).cors_origins == ("https://a.example",)


@pytest.mark.parametrize(
    ("written", "source"),
    [
        ("self", "'self'"),
        ("'self'", "'self'"),
        ("*", "*"),
        ("https:", "https:"),
        ("https://*.Page.example/", "https://*.page.example"),
        ("https://page.example", "https://page.example"),
    ],
)
def test_frames_are_let_in_by_sources(written: str, source: str) -> None:
    assert Settings.model_validate({"frame_ancestors": written}).frame_ancestors == (source,)


@pytest.mark.parametrize(
    "written", ["page.example", "https://a.example; script-src *", "'unsafe-inline'", "none"]
)
def test_what_is_no_source_of_frames_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings.model_validate({"frame_ancestors": written})


@pytest.mark.parametrize(
    ("written", "prefix"),
    [
        ("", ""),
        ("/", ""),
        ("/video", "/video"),
        ("video/", "/video"),
        ("/a/b-1/", "/a/b-1"),
        ("/~me", "/~me"),
    ],
)
def test_a_prefix_has_a_slash_before_it_and_none_after(written: str, prefix: str) -> None:
    assert Settings.model_validate({"root_path": written}).root_path == prefix


@pytest.mark.parametrize(
    "written", ["//evil.example", "/a//b", "/../x", "/a?b", "/a b", "/a%2fb", "http://x/y", "/ä"]
)
def test_what_is_no_prefix_is_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="is not a prefix"):
        Settings.model_validate({"root_path": written})


def test_proxies_are_addresses_and_networks() -> None:
    settings = Settings.model_validate({"trusted_proxies": "10.0.0.7, 10.1.2.3/8,::1,unix,*"})
    assert settings.trusted_proxies == ("10.0.0.7/32", "10.0.0.0/8", "::1/128", "unix", "*")


@pytest.mark.parametrize("written", ["localhost", "10.0.0", "10.0.0.0/33", "proxy.example"])
def test_names_of_proxies_are_refused(written: str) -> None:
    with pytest.raises(ValidationError, match="is not the address of a proxy"):
        Settings.model_validate({"trusted_proxies": written})


def test_a_key_without_a_certificate_is_refused() -> None:
    with pytest.raises(ValidationError, match="no tls_certificate"):
        Settings.model_validate({"tls_key": "key.pem"})
