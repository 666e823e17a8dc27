import contextlib
import email
import email.message
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bodies.multipart import MAX_HEADER_BYTES, MAX_PARTS, MAX_PREAMBLE_BYTES, FilePart, boundary_of
from service.errors import MultipartError

BOUNDARY = b"frontier"
FILE = b'Content-Disposition: form-data; name="file"'


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


def outcome(body: bytes, step: int) -> bytes | str:
    try:
        return taken(body, step)
    except MultipartError as error:
        return str(error)


@given(content=st.binary(max_size=300), step=st.integers(1, 50))
def test_the_file_comes_out_whole_however_it_is_cut(content: bytes, step: int) -> None:
    assert taken(form(('name="file"; filename="clip.mp4"', content)), step) == content


PIECES = st.sampled_from(
    [
        b"--",
        b"frontier",
        b"\r",
        b"\n",
        b"\r\n",
        b"-",
        b" ",
        b"\t",
        b"x",
        b":",
        b"--frontier",
        FILE,
        b"\r\n\r\n",
    ]
)


@given(pieces=st.lists(PIECES, max_size=40), step=st.integers(1, 9))
def test_how_a_body_is_cut_changes_nothing(pieces: list[bytes], step: int) -> None:
    body = b"".join(pieces)
    assert outcome(body, step) == outcome(body, max(1, len(body)))


blanks = st.text(" \t", max_size=5).map(str.encode)
lines = st.binary(max_size=60).filter(lambda text: b"frontier" not in text and b"\r" not in text)


@given(
    preamble=st.none() | lines,
    epilogue=st.none() | lines,
    padding=st.tuples(blanks, blanks, blanks),
    contents=st.tuples(lines, lines),
    step=st.integers(1, 50),
)
def test_a_form_is_read_as_the_standard_library_reads_it(
    preamble: bytes | None,
    epilogue: bytes | None,
    padding: tuple[bytes, bytes, bytes],
    contents: tuple[bytes, bytes],
    step: int,
) -> None:
    """The standard library's reader of e-mail agrees about which lines are boundaries and headers."""
    other = b"\r\nX-Header: value\r\n\r\n" + contents[0] + b"\r\n"
    file = b'\r\nContent-Disposition: form-data;\r\n name="file"\r\n\r\n' + contents[1] + b"\r\n"
    body = (
        b"--frontier" + padding[0] + other + b"--frontier" + padding[1] + file + b"--frontier--" + padding[2]
    )
    body = (b"" if preamble is None else preamble + b"\r\n") + body
    body += b"" if epilogue is None else b"\r\n" + epilogue
    message = email.message_from_bytes(b"Content-Type: multipart/form-data; boundary=frontier\r\n\r\n" + body)
    assert not message.defects
    first, second = list(message.walk())[1:]
    assert (first["X-Header"], second.get_param("name", header="Content-Disposition")) == ("value", "file")
    assert taken(body, step) == contents[1]


@pytest.mark.parametrize(
    "names",
    [
        'name="file"; filename="../../etc/passwd"',
        'name="file"; filename="http://127.0.0.1/x.m3u8"',
        'filename="a\\"b"; name="file"',
        'name="file"',
        "name=file",
        'NAME="file"',
        'name="file"; filename="x; name=other"',
        "name=\"file\"; filename*=UTF-8''na%C3%AFve.mp4",
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
        b"This is a multi-part message in MIME format.\r\n--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--",
        b"--- not it\r\n-- frontier\r\n--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--",
        b"\r\n--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--\r\n",
        b"\n--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--\n",
        b"--frontier   \r\n%s\r\n\r\ncontent\r\n--frontier--",
        b"--frontier\t \r\n%s\r\n\r\ncontent\r\n--frontier-- \t\r\n",
        b"--frontier\r\n%s\r\n\r\ncontent\r\n--frontier \r\n\r\nother\r\n--frontier--\r\n",
        b"--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--\r\nepilogue\r\n--frontier\r\n",
        b"--frontier\r\n\r\na part without headers\r\n--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--",
        b"--frontier\r\n\r\n--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--",
        b"--frontier\r\nX: y\r\n\r\n--frontier\r\n%s\r\n\r\ncontent\r\n--frontier--",
        b"--frontier\r\nX:\r\n  folded\r\n\there\r\n%s\r\n\r\ncontent\r\n--frontier--",
        b"--frontier\r\ncontent-type: video/mp4\r\n%s\r\n\r\ncontent\r\n--frontier--",
    ],
)
@pytest.mark.parametrize("step", [1, 3, 1000])
def test_what_rfc_2046_allows_is_read(body: bytes, step: int) -> None:
    assert taken(body % FILE, step) == b"content"


@pytest.mark.parametrize(
    "content", [b"a\r\n--frontie", b"\r\n", b"--frontie\r\n", b"\n--frontier\r\n", b"\r\r\n-"]
)
def test_what_resembles_a_boundary_is_content(content: bytes) -> None:
    assert taken(form(('name="file"', content)), 1) == content


def test_an_empty_file_may_lack_its_own_line() -> None:
    assert taken(b"--frontier\r\n" + FILE + b"\r\n\r\n--frontier--") == b""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (form(('name="other"', b"x")), "no part named `file`"),
        (b"--frontier--\r\n", "no part named `file`"),
        (form(('name="file"', b"x"), ('name="file"', b"y")), "two parts named `file`"),
        (form(('name="file"', b"x"))[:-6], "before the last boundary"),
        (b"--frontier\r\n" + FILE, "before the last boundary"),
        (form(*[('name="other"', b"x")] * (MAX_PARTS + 1)), f"more than {MAX_PARTS} parts"),
        (b"", "no line with the boundary"),
        (b"--another\r\n\r\n", "no line with the boundary"),
        (b"no form at all", "no line with the boundary"),
        (b"text --frontier\r\n\r\n", "no line with the boundary"),
        (b"x" * (MAX_PREAMBLE_BYTES + 100), "hold no line with its boundary"),
        (b"--frontier\r\nContent-Disposition form-data\r\n\r\nx\r\n--frontier--\r\n", "not a header"),
        (b"--frontier\r\n folded: first\r\n\r\nx\r\n--frontier--\r\n", "not a header"),
        (b"--frontier\r\nX: \0\r\n\r\nx\r\n--frontier--\r\n", "not a header"),
        (
            b"--frontier\r\nX: " + b"x" * MAX_HEADER_BYTES + b"\r\n\r\nx\r\n--frontier--\r\n",
            "more than 16384",
        ),
        (b"--frontier\n" + FILE + b"\n\nx\n--frontier--\n", "LF alone"),
        (b"--frontier\r\n" + FILE + b"\n\nx\r\n--frontier--\r\n", "LF alone"),
        (
            b"--frontier\r\n" + FILE + b"\r\n\r\nx\r\n--frontierX\r\ny\r\n--frontier--",
            "goes on with something",
        ),
        (b"--frontier\r\n" + FILE + b"\r\n\r\nx\r\n--frontier--X", "goes on with something else"),
        (
            b"--frontierX\r\n--frontier\r\n" + FILE + b"\r\n\r\nx\r\n--frontier--",
            "goes on with something else",
        ),
        (b"--frontier\r\n%s\r\n%s\r\n\r\nx\r\n--frontier--" % (FILE, FILE), "several Content-Disposition"),
        (form(('name="file"; name="other"', b"x")), "several names"),
        (form(('name="other"; name="file"', b"x")), "several names"),
    ],
)
@pytest.mark.parametrize("step", [1, 7, 10**6])
def test_a_form_without_exactly_one_clear_file_is_refused(body: bytes, message: str, step: int) -> None:
    with pytest.raises(MultipartError, match=re.escape(message)):
        taken(body, step)


@given(st.binary(max_size=200))
def test_no_body_breaks_the_parser(body: bytes) -> None:
    part = FilePart(BOUNDARY)
    with contextlib.suppress(MultipartError):
        part.feed(b"--frontier\r\n" + body)
        part.finish()


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "; boundary=",
        "; boundary=" + "x" * 71,
        '; boundary="ends with a blank "',
        '; boundary="tab\there"',
        '; boundary="\xe9"',
        "; boundary=one; boundary=two",
        "; boundary=one; Boundary=two",
    ],
)
def test_a_bad_boundary_is_refused(parameters: str) -> None:
    with pytest.raises(MultipartError):
        boundary_of("multipart/form-data" + parameters)


@pytest.mark.parametrize(
    ("parameters", "boundary"),
    [
        ('; boundary="a b"', b"a b"),
        ("; boundary=" + "x" * 70, b"x" * 70),
        ('; Boundary = "gc0pJq0M:08jU534c0p"', b"gc0pJq0M:08jU534c0p"),
        (';boundary="\'()+_,-./:=?"; charset=utf-8', b"'()+_,-./:=?"),
        (
            "; charset=utf-8; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            b"----WebKitFormBoundary7MA4YWxkTrZu0gW",
        ),
    ],
)
def test_a_boundary_is_read(parameters: str, boundary: bytes) -> None:
    assert boundary_of("multipart/form-data" + parameters) == boundary
