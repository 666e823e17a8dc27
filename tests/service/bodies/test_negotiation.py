import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bodies.negotiation import MAX_RANGES, choose, parse_accept
from service.errors import NotAcceptableError

OFFERED = ("video/mp4", "video/webm", "image/gif")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "video/mp4"),
        ("*/*", "video/mp4"),
        ("video/webm", "video/webm"),
        ("VIDEO/WEBM", "video/webm"),
        ("image/*", "image/gif"),
        ("video/mp4;q=0.1, image/gif;q=0.9", "image/gif"),
        ("*/*;q=0.1, video/webm", "video/webm"),
        ("video/*, video/mp4;q=0", "video/webm"),
        ("video/mp4;q=0, */*", "video/webm"),
        ("text/html, image/gif;q=0.5", "image/gif"),
        ("video/mp4; codecs=avc1 ;q=0.5, video/webm;q=0.4", "video/mp4"),
        ("nonsense, image/gif", "image/gif"),
        ("image/gif, */*", "image/gif"),
        ("*/*, video/webm;q=1.0", "video/webm"),
        ("video/*, image/gif", "image/gif"),
        ("text/html, */*", "video/mp4"),
        ("image/gif;q=0.9, */*", "video/mp4"),
        ("video/mp4;q=2, image/gif;q=0.1", "image/gif"),
    ],
)
def test_the_most_preferred_type_is_chosen(accept: str, chosen: str) -> None:
    assert choose([accept], OFFERED) == chosen


@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        ([], "video/mp4"),
        (["", " "], "video/mp4"),
        (["text/html", "image/gif"], "image/gif"),
        (["video/webm;q=0.1", "", "image/gif;q=0.2, text/html"], "image/gif"),
        (["*/*", "video/mp4;q=0"], "video/webm"),
    ],
)
def test_several_headers_are_one_list(lines: list[str], chosen: str) -> None:
    assert choose(lines, OFFERED) == chosen


def test_ranges_past_the_limit_do_not_count() -> None:
    lines = ["text/html"] * (MAX_RANGES - 1)
    assert choose([*lines, "image/gif", "video/mp4"], OFFERED) == "image/gif"


@pytest.mark.parametrize(
    "accept", ["text/html", "video/mp4;q=0", "*/*;q=0", "nonsense", "video/mp4;q=x", ", ,"]
)
def test_what_cannot_be_met_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        choose([accept], OFFERED)


@given(st.text())
def test_no_header_breaks_the_parser(header: str) -> None:
    assert all(0 <= found.quality <= 1 for found in parse_accept(header))
