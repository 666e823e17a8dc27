"""Turns errors into answers: RFC 9457 problem+json with the status and title of the error's class.

Errors of the service carry status and title themselves (`service.errors`). Those of the codec are in the
table `CODEC_ANSWERS`. An error of neither kind is a bug, and its answer says only that.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, NotRequired

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field
from starlette.exceptions import HTTPException
from typing_extensions import TypedDict  # pydantic takes typing's own only from Python 3.12 on

from cvivit import errors as codec
from cvivit.errors import CViViTError
from service import errors
from service.decoding import decoding_errors  # noqa: F401 - the catalogue lists its errors
from service.engine import engine_errors  # noqa: F401 - and its
from service.errors import ServiceError, subclasses_of

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True)
class CodecAnswer:
    """The status and title that answer an error of the codec, which has neither itself."""

    status: int
    title: str


CODEC_ANSWERS: dict[type[CViViTError], CodecAnswer] = {
    codec.VideoError: CodecAnswer(422, "Invalid video"),
    codec.UnsupportedMediaError: CodecAnswer(415, "Unsupported media"),
    codec.NoVideoStreamError: CodecAnswer(422, "No video stream"),
    codec.EmptyVideoError: CodecAnswer(422, "Empty video"),
    codec.CorruptVideoError: CodecAnswer(422, "Corrupt video"),
    codec.ResolutionChangedError: CodecAnswer(422, "Resolution changed"),
    codec.VideoTooLargeError: CodecAnswer(413, "Video too large"),
    codec.TokensError: CodecAnswer(422, "Invalid tokens"),
    codec.TokenFormatError: CodecAnswer(422, "Token format"),
    codec.TokenSyntaxError: CodecAnswer(400, "Token syntax"),
    codec.TokenShapeError: CodecAnswer(422, "Token shape"),
    codec.TokenRangeError: CodecAnswer(422, "Token range"),
    codec.TokenFieldError: CodecAnswer(422, "Token field"),
    codec.TooManyTokensError: CodecAnswer(413, "Too many tokens"),
    codec.ModelMismatchError: CodecAnswer(409, "Tokens of another model"),
    codec.DeviceError: CodecAnswer(503, "Device error"),
    codec.DeviceMemoryError: CodecAnswer(503, "Out of device memory"),
    codec.DeviceLostError: CodecAnswer(503, "Device lost"),
}
"""Every error of the codec that a client may see. Errors of the service have these as class attributes."""

RETRY_SECONDS = 5
"""`Retry-After` of a 429 or 503 whose error gives no time of its own."""
BUG_DETAIL = "the server made a mistake; its log has the details under this request_id"


class Problem(TypedDict):
    """The members of a problem+json answer."""

    type: Annotated[str, Field(description="Link to the list of errors.", examples=["/errors#token_range"])]
    title: Annotated[str, Field(examples=["Token range"])]
    status: Annotated[int, Field(examples=[422])]
    detail: Annotated[str, Field(description="One sentence for a person.")]
    instance: Annotated[str, Field(description="The path of the request.", examples=["/decode"])]
    code: Annotated[str, Field(description="Stable identifier of the cause.", examples=["token_range"])]
    limit: Annotated[float | None, Field(description="The limit that the request exceeded, if any.")]
    actual: Annotated[float | None, Field(description="The value that exceeded it, where it is known.")]
    limit_name: NotRequired[
        Annotated[str, Field(description="Which of the limits of a video it was, as `/info` names it.")]
    ]
    request_id: Annotated[str | None, Field(description="The `x-request-id` header of this answer.")]


@dataclass(frozen=True, kw_only=True)
class ProblemAnswer:
    """The status, headers and problem that answer a failed request."""

    status: int
    headers: dict[str, str]
    problem: Problem

    def body(self) -> bytes:
        """Return the problem as JSON."""
        return json.dumps(self.problem).encode()

    def response(self) -> Response:
        """Return the whole answer as a response."""
        return Response(self.body(), self.status, self.headers, MEDIA_TYPE)


def status_of(kind: type[BaseException]) -> int | None:
    """Return the status of an error class. A class without one has that of its nearest ancestor with one.

    Returns None if there is none. Such an error is not shown to clients.
    """
    if issubclass(kind, ServiceError):
        return getattr(kind, "status", None)
    answer_of_codec = _codec_answer(kind)
    return None if answer_of_codec is None else answer_of_codec.status


def title_of(kind: type[CViViTError]) -> str:
    """Return what happened in a few words, the same for every error of the class."""
    if issubclass(kind, ServiceError):
        return kind.title
    answer_of_codec = _codec_answer(kind)
    return kind.code if answer_of_codec is None else answer_of_codec.title


def _codec_answer(kind: type[BaseException]) -> CodecAnswer | None:
    return next((CODEC_ANSWERS[base] for base in kind.__mro__ if base in CODEC_ANSWERS), None)


def meaning_of(kind: type[CViViTError]) -> str:
    """Return the first line of an error class's docstring, which says what the error means."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def answer(error: BaseException, path: str, root_path: str = "") -> ProblemAnswer:
    """Return the answer to a request for `path` that failed with `error`.

    An error that has no status is a bug. It is answered 500, and its text stays in the log: it may hold paths
    or other secrets.

    Args:
        error: why the request failed.
        path: the path of the request, as its client sees it.
        root_path: the prefix that a proxy adds to every path. Links begin with it.
    """
    shown: CViViTError
    if isinstance(error, CViViTError) and (status := status_of(type(error))) is not None:
        shown = error
    else:
        shown, status = errors.InternalError(BUG_DETAIL), errors.InternalError.status
    headers = {"Cache-Control": "no-store"}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(math.ceil(getattr(shown, "retry_after_seconds", RETRY_SECONDS)))
    if status == HTTPStatus.REQUEST_TIMEOUT:
        # The rest of the body may still arrive. On an open connection it would be read as the next request.
        headers["Connection"] = "close"
    headers |= getattr(shown, "headers", {})
    problem = Problem(
        type=f"{root_path}/errors#{shown.code}",
        title=title_of(type(shown)),
        status=status,
        detail=str(shown),
        instance=path,
        code=shown.code,
        limit=shown.limit,
        actual=shown.actual,
        request_id=correlation_id.get(),
    )
    if isinstance(shown, codec.VideoTooLargeError):
        problem["limit_name"] = shown.limit_name
    return ProblemAnswer(status=status, headers=headers, problem=problem)


def catalogue() -> list[type[CViViTError]]:
    """Return every error class that a client or a log may see, sorted by status and code."""
    kinds = [*subclasses_of(ServiceError), *CODEC_ANSWERS]
    return sorted(kinds, key=lambda kind: (status_of(kind) or 0, kind.code))


def errors_page() -> str:
    """Return the catalogue as the Markdown of ERRORS.md."""
    lines = [
        "# Errors",
        "",
        "Every failed request is answered with `application/problem+json` (RFC 9457): `type`, `title`,",
        "`status`, `detail` (a sentence for a person), `instance` (the path), `code` (stable: programs",
        "compare this one), `limit` and `actual` (numbers, where the request exceeded a limit) and",
        "`request_id` (the `x-request-id` header of the answer). `limit_name` says which limit of a video it",
        "was; `/info` lists these limits.",
        "",
        "| status | code | meaning |",
        "|---|---|---|",
    ]
    for kind in catalogue():
        row = f'{status_of(kind)} | <a id="{kind.code}"></a>`{kind.code}` | {meaning_of(kind)}'
        lines.append(f"| {row} |")
    return "\n".join([*lines, ""])


def install(app: FastAPI) -> None:
    """Turn the framework's own errors into errors of our tree, which `ProblemMiddleware` answers."""
    app.add_exception_handler(HTTPException, _from_http)
    app.add_exception_handler(RequestValidationError, _from_validation)


def _from_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    translated: ServiceError
    if error.status_code == HTTPStatus.NOT_FOUND:
        translated = errors.NotFoundError(
            "there is no route at this path; /docs lists the routes", headers=headers
        )
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"  # see service.middleware.head
        translated = errors.MethodNotAllowedError(
            f"this route does not take {request.method}; the Allow header lists the methods it takes",
            headers=headers,
        )
    elif error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        translated = errors.InvalidRequestError("this route does not take such a request", headers=headers)
    else:
        translated = errors.InternalError(BUG_DETAIL)
    raise translated from error


def _from_validation(_: Request, error: Exception) -> Response:
    """Name the first value that FastAPI refused, and what it expected. Pydantic's messages hold no input."""
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0] if error.errors() else {}
    place, *names = first.get("loc", ("request",))
    expected = str(first.get("msg", "")) or "not a value that this route takes"
    name = ".".join(str(part) for part in names)
    if place == "query" and names:
        raise errors.ParameterError(f"query parameter {name}: {expected}") from error
    raise errors.InvalidRequestError(f"{name or place}: {expected}") from error
