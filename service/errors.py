"""The errors of a request that belong to the service. Those of the codec are in `cvivit.errors`.

::

    CViViTError
    └── ServiceError
        ├── NotFoundError            the path is no route
        ├── MethodNotAllowedError    the route has other methods
        ├── InvalidRequestError      the framework refused the request
        ├── ParameterError           a query parameter is unknown, repeated or out of range
        ├── UnauthorizedError        the API key is missing or unknown
        ├── CrossOriginError         a page of another origin may not send this request
        ├── NotAcceptableError       `Accept` allows no media type that the route gives
        ├── ContentTypeError         the body has a media type that the route does not take
        ├── ContentEncodingError     the body is compressed
        ├── EmptyBodyError           the body has no bytes
        ├── MultipartError           the body is not a form with one part named `file`
        ├── MalformedRequestError    the request is not valid HTTP
        ├── HeadersTooLargeError     the headers have more bytes than allowed
        ├── BodyTooLargeError        the body has more bytes than allowed
        ├── UploadTimeoutError       the body stalled or took too long
        ├── StorageFullError         the server has no disk space for the body
        ├── ClientGoneError          the client closed the connection
        ├── BusyError                too many requests are in flight
        ├── KeyLimitError            a limit of the API key itself is reached
        ├── TooManyConnectionsError  too many connections are open
        ├── NotReadyError            the server is starting, or has failed
        ├── DrainingError            the server is stopping
        ├── ReplicaLostError         the replica that worked on the request ended
        ├── StageTimeoutError        a stage of the work took too long
        ├── InternalError            a bug
        ├── EngineError              see `service.engine.engine_errors`
        └── DecodingError            see `service.decoding.decoding_errors`

Each class says how it is answered: `status`, `code`, `title`, and `routes`, the routes that may answer it.
Its docstring's first line is its meaning in ERRORS.md. `service.problems` turns errors into answers, and
`service.openapi` lists them in the OpenAPI document.
"""

from __future__ import annotations

from enum import Enum
from typing import ClassVar

from cvivit.errors import CViViTError


class Routes(Enum):
    """Which routes may answer an error."""

    ALL = "all"
    WORK = "work"
    """Routes that take a body and run the model."""
    VIDEO = "video"
    """Routes that take a video."""
    TOKENS = "tokens"
    """Routes that take tokens."""
    NAMED = "named"
    """Only routes that name the error in their own list."""


class ServiceError(CViViTError):
    """Root of the service's own errors. `headers` are added to the answer."""

    code = "service_error"
    status: ClassVar[int]
    title: ClassVar[str]
    """What happened, in a few words that are the same for every error of the class."""
    routes: ClassVar[Routes] = Routes.NAMED

    def __init__(
        self,
        message: str,
        *,
        limit: float | None = None,
        actual: float | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message, limit=limit, actual=actual)
        self.headers = headers or {}


class NotFoundError(ServiceError):
    """The server has no route at this path."""

    status, code, title = 404, "not_found", "Not found"


class MethodNotAllowedError(ServiceError):
    """The route does not take this method. The `Allow` header lists those it takes."""

    status, code, title = 405, "method_not_allowed", "Method not allowed"


class InvalidRequestError(ServiceError):
    """The route does not take a request of this form."""

    status, code, title = 422, "invalid_request", "Invalid request"


class ParameterError(ServiceError):
    """A query parameter is unknown, repeated, or has a value that the route does not take."""

    status, code, title = 422, "invalid_parameter", "Invalid query parameter"
    routes = Routes.ALL


class UnauthorizedError(ServiceError):
    """The request has no API key, or one that the server does not know."""

    status, code, title = 401, "unauthorized", "API key missing or unknown"
    routes = Routes.ALL


class CrossOriginError(ServiceError):
    """A page of another origin may not send this request. The answer to a browser's preflight says so."""

    status, code, title = 400, "cross_origin", "Cross-origin request refused"


class NotAcceptableError(ServiceError):
    """The `Accept` header allows none of the media types that the route gives."""

    status, code, title = 406, "not_acceptable", "No acceptable media type"
    routes = Routes.WORK


class ContentTypeError(ServiceError):
    """The `Content-Type` header names a media type that the route does not take."""

    status, code, title = 415, "content_type", "Unsupported content type"
    routes = Routes.TOKENS


class ContentEncodingError(ServiceError):
    """The body is compressed (it has a `Content-Encoding`). Send it uncompressed."""

    status, code, title = 415, "content_encoding", "Compressed body"
    routes = Routes.WORK


class EmptyBodyError(ServiceError):
    """The body, or the file in the form, is empty."""

    status, code, title = 400, "empty_body", "Empty body"
    routes = Routes.WORK


class MultipartError(ServiceError):
    """The body is not a multipart form with exactly one part named `file`."""

    status, code, title = 400, "multipart", "Invalid multipart form"
    routes = Routes.VIDEO


class MalformedRequestError(ServiceError):
    """The request is not valid HTTP, or its body is not what its headers announce."""

    status, code, title = 400, "malformed_request", "Malformed HTTP request"
    routes = Routes.ALL


class HeadersTooLargeError(ServiceError):
    """The request's first line and headers have more bytes than the server allows."""

    status, code, title = 431, "headers_too_large", "Headers too large"
    routes = Routes.ALL


class BodyTooLargeError(ServiceError):
    """The body has more bytes than the server allows. `limit` and `actual` are in bytes."""

    status, code, title = 413, "body_too_large", "Body too large"
    routes = Routes.WORK


class UploadTimeoutError(ServiceError):
    """The body stopped arriving, or took too long to arrive. `limit` is in seconds."""

    status, code, title = 408, "upload_timeout", "Upload too slow"
    routes = Routes.WORK


class StorageFullError(ServiceError):
    """The server has no disk space left for the body or the answer. Try again later."""

    status, code, title = 503, "storage_full", "No disk space left"
    routes = Routes.WORK


class ClientGoneError(ServiceError):
    """The client closed the connection, so its work was cancelled. Only logs and metrics show this code."""

    status, code, title = 499, "client_gone", "Client closed the connection"


class BusyError(ServiceError):
    """Too many requests are in flight. The `Retry-After` header says when to try again."""

    status, code, title = 429, "busy", "Too many requests in flight"
    routes = Routes.WORK


class KeyLimitError(ServiceError):
    """The API key has limits of its own, and one is reached. `Retry-After` says when to try again."""

    status, code, title = 429, "key_limit", "Limit of the API key reached"
    routes = Routes.WORK


class TooManyConnectionsError(ServiceError):
    """Too many connections to the server are open, including idle ones."""

    status, code, title = 503, "too_many_connections", "Too many connections"
    routes = Routes.ALL


class NotReadyError(ServiceError):
    """The server is still starting, or its engine has failed."""

    status, code, title = 503, "not_ready", "Server not ready"
    routes = Routes.WORK


class DrainingError(ServiceError):
    """The server is stopping and takes no new work."""

    status, code, title = 503, "draining", "Server stopping"
    routes = Routes.WORK


class ReplicaLostError(ServiceError):
    """The process that worked on the request ended. On Ray Serve only: send the request again."""

    status, code, title = 503, "replica_lost", "Replica lost"


class StageTimeoutError(ServiceError):
    """A stage of the work took longer than the server allows. `limit` is in seconds."""

    status, code, title = 503, "stage_timeout", "Stage took too long"
    routes = Routes.WORK


class InternalError(ServiceError):
    """The server has a bug. The answer tells only the request's id, under which the log has the details."""

    status, code, title = 500, "internal_error", "Internal server error"
    routes = Routes.ALL


def subclasses_of(kind: type[CViViTError]) -> list[type[CViViTError]]:
    """Return the classes below `kind` in the error tree that have a code of their own, parents first."""
    found: list[type[CViViTError]] = []
    for child in kind.__subclasses__():
        found += [child] if "code" in vars(child) else []
        found += subclasses_of(child)
    return found
