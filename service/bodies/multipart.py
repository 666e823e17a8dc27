"""Takes the one file out of a multipart/form-data body, chunk by chunk.

::

    preamble                                          ignored
    --boundary                                        a delimiter, perhaps with blanks after it
    Content-Disposition: form-data; name="file"       the headers of a part

    content
    --boundary--                                      the last delimiter
    epilogue                                          ignored

All of RFC 2046, section 5.1, is read, including a preamble, an epilogue, blanks after a delimiter, folded
headers and parts without headers. python-multipart's own parser refuses a preamble, blanks after the first
delimiter and folded headers, so it serves only to split parameters here. A body that two readers could
understand in two ways is refused, because a proxy in front of the service may have understood the other one.
"""

from __future__ import annotations

import re
from email.message import Message
from enum import Enum
from typing import Final

from python_multipart.multipart import parse_options_header

from service.errors import MultipartError

FIELD: Final = b"file"
"""Name of the part that holds the video."""
MAX_PARTS: Final = 32
"""Parts of a form. Parts besides the file are skipped, and count."""
MAX_BOUNDARY_BYTES: Final = 70
MAX_PREAMBLE_BYTES: Final = 16 * 1024
MAX_HEADER_BYTES: Final = 16 * 1024
"""Bytes of the headers of one part."""

LF_ALONE: Final = "the lines of the form must end with CRLF; one of them ends with LF alone"

_BLANKS = b" \t"
_BOUNDARY = re.compile(rb"[\x20-\x7e]*[\x21-\x7e]")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00\r\n]*)")


class _State(Enum):
    """What the parser is reading."""

    PREAMBLE = 1
    DELIMITER = 2
    """The rest of a line that begins with the boundary."""
    HEADERS = 3
    CONTENT = 4
    LAST_DELIMITER = 5
    """The rest of the line, after the two hyphens."""
    EPILOGUE = 6


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a multipart Content-Type header names.

    Raises:
        MultipartError: it names none, several, or one that RFC 2046 does not allow.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
    if _occurrences("boundary", content_type) != 1:
        raise MultipartError("the Content-Type of a form must have one boundary parameter")
    if len(boundary) > MAX_BOUNDARY_BYTES or not _BOUNDARY.fullmatch(boundary):
        raise MultipartError(
            f"the boundary in the Content-Type must have 1 to {MAX_BOUNDARY_BYTES} printable ASCII "
            "characters and must not end with a space"
        )
    return boundary


class FilePart:
    """Takes the bytes of a form and returns those of its part named `file`.

    The part's file name and content type are ignored: a video is recognised by its content.

    Args:
        boundary: separates the parts.
    """

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # A delimiter may also be the first line of the body. With a line end before the body it needs no case
        # of its own.
        self._buffer = bytearray(b"\r\n")
        self._state = _State.PREAMBLE
        self._skipped = 0
        """Bytes of the preamble so far."""
        self._parts = 0
        self._files = 0
        self._in_file = False
        self._blank_line = 0
        """Bytes at the start of the buffer that end the headers and are not content."""
        self._content = bytearray()

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes of the file that `chunk` completes.

        Raises:
            MultipartError: the body is not a form with this boundary, has a second file, or too many parts.
        """
        self._buffer += chunk
        while self._step():
            pass
        content = bytes(self._content)
        self._content.clear()
        return content

    def finish(self) -> None:
        """Check that the form is complete.

        Raises:
            MultipartError: the body ended early, or the form has no part named `file`.
        """
        if self._state is _State.PREAMBLE:
            raise MultipartError("the body holds no line with the boundary that its Content-Type names")
        if self._state not in (_State.LAST_DELIMITER, _State.EPILOGUE):
            raise MultipartError("the body ends before the last boundary of the form")
        if not self._files:
            raise MultipartError("the form has no part named `file`; send the video under this name")

    def _step(self) -> bool:
        """Consume bytes of the buffer. Return whether another step may be possible without more bytes."""
        match self._state:
            case _State.PREAMBLE:
                return self._read_preamble()
            case _State.DELIMITER:
                return self._read_delimiter()
            case _State.HEADERS:
                return self._read_headers()
            case _State.CONTENT:
                return self._read_content()
            case _State.LAST_DELIMITER:
                return self._read_last_delimiter()
            case _State.EPILOGUE:
                self._buffer.clear()
                return False

    def _read_preamble(self) -> bool:
        # The line before the first delimiter may end with LF alone: the preamble is ignored anyway.
        delimiter = self._delimiter[1:]
        found = self._buffer.find(delimiter)
        end = found if found >= 0 else max(0, len(self._buffer) - len(delimiter) + 1)
        self._skipped += end
        if self._skipped > MAX_PREAMBLE_BYTES:
            raise MultipartError(
                f"the first {MAX_PREAMBLE_BYTES} bytes of the body hold no line with its boundary",
                limit=MAX_PREAMBLE_BYTES,
            )
        del self._buffer[:end]
        if found < 0:
            return False
        del self._buffer[: len(delimiter)]
        self._state = _State.DELIMITER
        return True

    def _read_delimiter(self) -> bool:
        if self._buffer.startswith(b"--"):
            del self._buffer[:2]
            self._state = _State.LAST_DELIMITER
            return True
        if self._buffer == b"-":
            return False
        self._drop_blanks()
        if self._buffer.startswith(b"\r\n"):
            del self._buffer[:2]
            self._begin_part()
            return True
        if not self._buffer or self._buffer == b"\r":
            return False
        if self._buffer.startswith(b"\n"):
            raise MultipartError(LF_ALONE)
        raise MultipartError("a line of the form begins with its boundary and goes on with something else")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MultipartError(
                f"the form has more than {MAX_PARTS} parts", limit=MAX_PARTS, actual=self._parts
            )
        self._state = _State.HEADERS

    def _read_headers(self) -> bool:
        without_headers = self._buffer.startswith(b"\r\n")
        end = 0 if without_headers else self._buffer.find(b"\r\n\r\n")
        headers = bytes(self._buffer if end < 0 else self._buffer[:end])
        if len(headers) > MAX_HEADER_BYTES:
            raise MultipartError(
                f"the headers of a part have more than {MAX_HEADER_BYTES} bytes", limit=MAX_HEADER_BYTES
            )
        if headers.count(b"\n") > headers.count(b"\r\n"):
            raise MultipartError(LF_ALONE)
        if end < 0:
            return False
        self._in_file = _names_the_file(headers)
        self._files += self._in_file
        if self._files > 1:
            raise MultipartError("the form has two parts named `file`; send one video for each request")
        # The blank line stays in the buffer: in an empty part it is also the line end of the next delimiter.
        del self._buffer[: 0 if without_headers else end + 2]
        self._blank_line = 2
        self._state = _State.CONTENT
        return True

    def _read_content(self) -> bool:
        found = self._buffer.find(self._delimiter)
        if found >= 0:
            self._take(found)
            del self._buffer[: len(self._delimiter)]
            self._state = _State.DELIMITER
            return True
        # The buffer may end with the first bytes of a delimiter. A delimiter holds CR only as its first byte,
        # so only the last CR in the buffer can begin one.
        tail = self._buffer.rfind(b"\r", max(0, len(self._buffer) - len(self._delimiter) + 1))
        partial = tail >= 0 and self._delimiter.startswith(self._buffer[tail:])
        self._take(tail if partial else len(self._buffer))
        return False

    def _take(self, count: int) -> None:
        """Move `count` bytes out of the buffer: into the content where they belong to the file."""
        blank = min(count, self._blank_line)
        if self._in_file:
            self._content += self._buffer[blank:count]
        self._blank_line -= blank
        del self._buffer[:count]

    def _read_last_delimiter(self) -> bool:
        self._drop_blanks()
        if not self._buffer or self._buffer == b"\r":
            return False
        if not self._buffer.startswith((b"\r\n", b"\n")):
            raise MultipartError("the line of the form's last boundary goes on with something else")
        self._state = _State.EPILOGUE
        return True

    def _drop_blanks(self) -> None:
        del self._buffer[: len(self._buffer) - len(self._buffer.lstrip(_BLANKS))]


def _names_the_file(headers: bytes) -> bool:
    """Return whether the headers of a part, lines that end with CRLF, are those of the file.

    Raises:
        MultipartError: a line is not a header, or the headers name the part twice.
    """
    dispositions = []
    for line in re.sub(rb"\r\n(?=[ \t])", b"", headers).split(b"\r\n") if headers else []:
        header = _HEADER.fullmatch(line)
        if header is None:
            raise MultipartError("a part of the form has a line that is not a header before its blank line")
        if header[1].lower() == b"content-disposition":
            dispositions.append(header[2].decode("latin-1"))
    if len(dispositions) > 1:
        raise MultipartError("a part of the form has several Content-Disposition headers")
    if not dispositions:
        return False
    if _occurrences("name", dispositions[0]) > 1:
        raise MultipartError("a part of the form has several names in its Content-Disposition")
    kind, parameters = parse_options_header(dispositions[0])
    return kind == b"form-data" and parameters.get(b"name") == FIELD


def _occurrences(parameter: str, header: str) -> int:
    """Return how often a header value has a parameter; `parse_options_header` gives only the last."""
    message = Message()
    message["X"] = header
    return sum(name.lower() == parameter for name, _ in message.get_params([], header="X"))
