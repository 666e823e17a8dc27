import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bodies.multipart import FilePart, boundary_of
from service.errors import MultipartError

BOUNDARY = b"frontier"


def form(*parts: tuple[str, bytes]) -> bytes:
    pieces = [
        b"--%s\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (BOUNDARY, names.encode(), content)
        for names, content in parts
    ]
    return b"".join([*pieces, b"--%s--\r\n" % BOUNDARY])


def taken(body: bytes, step: int = 7) -> bytes:
    part = FilePart(BOUNDARY)
    content = b"".join(part.feed(body[start : start + step]) for start in range(0, len(body), step))
    part.finish()
    return content


@given(content=st.binary(max_size=300), step=st.integers(1, 50))
def test_the_file_comes_out_whole_however_it_is_cut(content: bytes, step: int) -> None:
    assert taken(form(('name="file"; filename="clip.mp4"', content)), step) == content


@pytest.mark.parametrize(
    "names",
    [
        'name="file"; filename="../../etc/passwd"',
        'name="file"; filename="http://127.0.0.1/x.m3u8"',
        'filename="a\\"b"; name="file"',
        'name="file"',
    ],
)
def test_what_a_file_calls_itself_does_not_matter(names: str) -> None:
    assert taken(form((names, b"content"))) == b"content"


def test_other_parts_are_read_past() -> None:
    assert (
        taken(form(('name="before"', b"x"), ('name="file"', b"content"), ('name="after"', b"y")))
        == b"content"
    )


@pytest.mark.parametrize(
    "body",
    [
        form(('name="other"', b"x")),
        form(('name="file"', b"x"), ('name="file"', b"y")),
        form(('name="file"', b"x"))[:-6],
        form(*[('name="other"', b"x")] * 40),
        b"--another\r\n\r\n",
        b"no form at all",
        b"--frontier\r\nContent-Disposition form-data\r\n\r\nx\r\n--frontier--\r\n",
    ],
)
def test_a_form_without_exactly_one_whole_file_is_refused(body: bytes) -> None:
    with pytest.raises(MultipartError):
        taken(body)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    part = FilePart(BOUNDARY)
    with contextlib.suppress(MultipartError):
        part.feed(b"--frontier\r\n" + body)
        part.finish()


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "x" * 71],
)
def test_a_bad_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(MultipartError):
        boundary_of(content_type)


def test_a_quoted_boundary_is_read() -> None:
    assert boundary_of('multipart/form-data; boundary="a b"') == b"a b"
