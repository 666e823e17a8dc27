"""Every answer to a failed request: RFC 9457 problem+json, its status from one table."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NotRequired, TypedDict

from asgi_correlation_id import correlation_id
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from cvivit import errors as codec
from cvivit.errors import CViViTError
from service import decoding, engine, errors

MEDIA_TYPE = "application/problem+json"

STATUSES: dict[type[CViViTError], int] = {
    codec.VideoError: 422,
    codec.UnsupportedMediaError: 415,
    codec.NoVideoStreamError: 422,
    codec.EmptyVideoError: 422,
    codec.CorruptVideoError: 422,
    codec.ResolutionChangedError: 422,
    codec.VideoTooLargeError: 413,
    codec.TokensError: 422,
    codec.TokenFormatError: 422,
    codec.TokenSyntaxError: 400,
    codec.TokenShapeError: 422,
    codec.TokenRangeError: 422,
    codec.TokenFieldError: 422,
    codec.TooManyTokensError: 413,
    codec.ModelMismatchError: 409,
    codec.DeviceError: 503,
    codec.DeviceMemoryError: 503,
    codec.DeviceLostError: 503,
    errors.NotFoundError: 404,
    errors.MethodNotAllowedError: 405,
    errors.InvalidRequestError: 422,
    errors.UnauthorizedError: 401,
    errors.CrossOriginError: 400,
    errors.NotAcceptableError: 406,
    errors.ContentTypeError: 415,
    errors.ContentEncodingError: 415,
    errors.EmptyBodyError: 400,
    errors.MultipartError: 400,
    errors.MalformedRequestError: 400,
    errors.HeadersTooLargeError: 431,
    errors.BodyTooLargeError: 413,
    errors.UploadTimeoutError: 408,
    errors.StorageFullError: 503,
    errors.ClientGoneError: 499,
    errors.BusyError: 429,
    errors.KeyLimitError: 429,
    errors.TooManyConnectionsError: 503,
    errors.NotReadyError: 503,
    errors.DrainingError: 503,
    errors.StageTimeoutError: 503,
    errors.InternalError: 500,
    decoding.DecodingError: 503,
    decoding.DecoderCrashedError: 422,
    decoding.DecodingMemoryError: 413,
    decoding.DecodingTimeoutError: 503,
    decoding.DecodersBusyError: 503,
    decoding.DecodingStorageError: 503,
    decoding.DecodingStoppedError: 503,
    engine.EngineError: 503,
    engine.QueueFullError: 429,
    engine.DeadlineExceededError: 503,
    engine.ClipFailedError: 500,
    engine.EngineUnavailableError: 503,
    engine.EngineStartingError: 503,
    engine.EngineDrainingError: 503,
    engine.EngineFailedError: 503,
}
"""The one table. A class that is not here is answered as its nearest ancestor is; with none, as a 500."""

RETRY_SECONDS = 5
"""`Retry-After` of an answer that does not know better."""
APOLOGY = "the server made a mistake; its log has the request's id"


class Problem(TypedDict):
    """The members of a problem+json answer."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    request_id: str | None
    limit: NotRequired[float | None]
    actual: NotRequired[float | None]
    limit_name: NotRequired[str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A failed request's status, headers and problem."""

    status: int
    headers: dict[str, str]
    problem: Problem

    def body(self) -> bytes:
        """Return the problem as JSON."""
        return json.dumps(self.problem).encode()

    def response(self) -> Response:
        """Return the whole as a response."""
        return Response(self.body(), self.status, self.headers, MEDIA_TYPE)


def status_of(kind: type[BaseException]) -> int | None:
    """Return the status of an error of class `kind`; None where it is nothing to tell a client."""
    return next((STATUSES[base] for base in kind.__mro__ if base in STATUSES), None)


def title_of(kind: type[CViViTError]) -> str:
    """Return an error class in a few words: `token_range` is "Token range"."""
    return kind.code.replace("_", " ").capitalize()


def meaning_of(kind: type[CViViTError]) -> str:
    """Return what an error class says of itself in one line."""
    return (kind.__doc__ or "").strip().splitlines()[0]


def answer(error: BaseException, path: str, root_path: str = "") -> Answer:
    """Return the answer to a request that failed with `error`.

    An error that is not one of ours is answered 500, and nothing of it is told.

    Args:
        error: why the request failed.
        path: of the request, as its client sees it.
        root_path: the prefix that a proxy adds to every path; links begin with it.
    """
    told = error if isinstance(error, CViViTError) else errors.InternalError(APOLOGY)
    status = status_of(type(told))
    if status is None:
        told, status = errors.InternalError(APOLOGY), HTTPStatus.INTERNAL_SERVER_ERROR.value
    headers = {"Cache-Control": "no-store"}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        headers["Retry-After"] = str(math.ceil(getattr(told, "retry_after_seconds", RETRY_SECONDS)))
    if status == HTTPStatus.REQUEST_TIMEOUT:  # what is left of the body would be read as the next request
        headers["Connection"] = "close"
    headers |= getattr(told, "headers", {})
    problem = Problem(
        type=f"{root_path}/errors#{told.code}",
        title=title_of(type(told)),
        status=status,
        detail=str(told),
        instance=path,
        code=told.code,
        limit=told.limit,
        actual=told.actual,
        request_id=correlation_id.get(),
    )
    if isinstance(told, codec.VideoTooLargeError):
        problem["limit_name"] = told.limit_name
    return Answer(status=status, headers=headers, problem=problem)


def catalogue() -> list[type[CViViTError]]:
    """Return every error class that may be answered, by status and code."""
    return sorted(STATUSES, key=lambda kind: (STATUSES[kind], kind.code))


def errors_page() -> str:
    """Return the catalogue as the Markdown of ERRORS.md."""
    lines = [
        "# Errors",
        "",
        "Every failed request is answered with `application/problem+json` (RFC 9457): `type`, `title`,",
        "`status`, `detail` (a sentence for a person), `instance` (the route), `code` (stable: compare this",
        "one), `limit` and `actual` (numbers, where a limit was passed) and `request_id` (the answer's",
        "`x-request-id`). Of a video's limits, `limit_name` says which: its setting in `/info`.",
        "",
        "| status | code | meaning |",
        "|---|---|---|",
    ]
    for kind in catalogue():
        row = f'{STATUSES[kind]} | <a id="{kind.code}"></a>`{kind.code}` | {meaning_of(kind)}'
        lines.append(f"| {row} |")
    return "\n".join([*lines, ""])


def install(app: FastAPI) -> None:
    """Bring the framework's own errors into the tree; `ProblemMiddleware` answers them with the rest."""
    app.add_exception_handler(HTTPException, _from_http)
    app.add_exception_handler(RequestValidationError, _from_validation)


def _from_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    told: errors.ServiceError
    if error.status_code == HTTPStatus.NOT_FOUND:
        told = errors.NotFoundError("there is nothing here; /docs lists the routes", headers=headers)
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        if headers.get("Allow") == "GET":
            headers["Allow"] = "GET, HEAD"  # see service.middleware.head
        told = errors.MethodNotAllowedError(
            f"{request.method} is not a method of this route; the Allow header names them", headers=headers
        )
    elif error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        told = errors.InvalidRequestError("the request is not one that this route takes", headers=headers)
    else:
        told = errors.InternalError(APOLOGY)
    raise told from error


def _from_validation(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first: dict[str, Any] = error.errors()[0] if error.errors() else {}
    place = ".".join(str(part) for part in first.get("loc", ())) or "request"
    raise errors.InvalidRequestError(f"{place}: not a value that this route takes") from error
