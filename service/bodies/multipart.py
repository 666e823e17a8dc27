"""The one file of a multipart/form-data body, taken out of it chunk by chunk."""

from __future__ import annotations

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MultipartError

FIELD = b"file"
MAX_PARTS = 32
"""Parts of a form, those besides the file included: they are read past."""


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a multipart Content-Type names.

    Raises:
        MultipartError: it names none, or one that RFC 2046 does not allow.
    """
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary", b"")
    if not 1 <= len(boundary) <= 70:
        raise MultipartError("the Content-Type names no boundary of 1 to 70 characters")
    return boundary


class FilePart:
    """Takes a form's bytes and gives those of its part named `file`, whatever that calls itself.

    Args:
        boundary: what separates the parts.
    """

    def __init__(self, boundary: bytes) -> None:
        self._parts = 0
        self._files = 0
        self._ended = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._in_file = False
        self._taken = bytearray()
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise MultipartError("the Content-Type's boundary is not one") from error

    def feed(self, chunk: bytes) -> bytes:
        """Return what `chunk` holds of the file.

        Raises:
            MultipartError: not a form of that boundary, a second file, or too many parts.
        """
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise MultipartError(
                "the body is not multipart with the boundary that its Content-Type names"
            ) from error
        taken = bytes(self._taken)
        self._taken.clear()
        return taken

    def finish(self) -> None:
        """Check that the form was whole.

        Raises:
            MultipartError: it broke off, or held no part named `file`.
        """
        if not self._ended:
            raise MultipartError("the form breaks off before its last boundary")
        if not self._files:
            raise MultipartError("the form has no part named `file`")

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MultipartError("the form has too many parts", limit=MAX_PARTS, actual=self._parts)
        self._disposition = b""
        self._in_file = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _end_headers(self) -> None:
        kind, parameters = parse_options_header(self._disposition)
        self._in_file = kind == b"form-data" and parameters.get(b"name") == FIELD
        if self._in_file:
            self._files += 1
            if self._files > 1:
                raise MultipartError("the form has a second part named `file`")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._taken += data[start:end]

    def _end(self) -> None:
        self._ended = True
