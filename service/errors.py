"""The errors of a request that are the service's own: the codec's are in `cvivit.errors`.

::

    CViViTError
    └── ServiceError
        ├── NotFoundError            no such route
        ├── MethodNotAllowedError    the route has other methods
        ├── InvalidRequestError      refused by the framework
        ├── UnauthorizedError        no key, or an unknown one
        ├── CrossOriginError         a page that may not ask for this
        ├── NotAcceptableError       nothing the route gives is accepted
        ├── ContentTypeError         a body of a type that the route does not take
        ├── ContentEncodingError     a body that is compressed
        ├── EmptyBodyError           no byte of a body
        ├── MultipartError           not a form with one part named `file`
        ├── MalformedRequestError    not HTTP as it should be
        ├── HeadersTooLargeError     more bytes of headers than allowed
        ├── BodyTooLargeError        more bytes than allowed
        ├── UploadTimeoutError       the body stalled, or took too long
        ├── StorageFullError         no room to keep the body
        ├── ClientGoneError          nobody is left to answer
        ├── BusyError                too much in flight
        ├── KeyLimitError            the key's own limits are reached
        ├── TooManyConnectionsError  too many are open
        ├── NotReadyError            starting, or failed
        ├── DrainingError            stopping
        ├── StageTimeoutError        a stage took longer than it may
        └── InternalError            a bug
"""

from __future__ import annotations

from cvivit.errors import CViViTError


class ServiceError(CViViTError):
    """Root of the service's own errors. `headers` go with the answer."""

    code = "service_error"

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
    """There is no such route."""

    code = "not_found"


class MethodNotAllowedError(ServiceError):
    """The route has other methods: `Allow` names them."""

    code = "method_not_allowed"


class InvalidRequestError(ServiceError):
    """The request is not one that the route takes."""

    code = "invalid_request"


class UnauthorizedError(ServiceError):
    """No bearer key was sent, or one that is not known."""

    code = "unauthorized"


class CrossOriginError(ServiceError):
    """A page of another origin may not ask for this: a browser's preflight of it is refused."""

    code = "cross_origin"


class NotAcceptableError(ServiceError):
    """`Accept` allows none of the types that the route gives."""

    code = "not_acceptable"


class ContentTypeError(ServiceError):
    """The body is of a type that the route does not take."""

    code = "content_type"


class ContentEncodingError(ServiceError):
    """The body has a `Content-Encoding`: bodies are taken as they are."""

    code = "content_encoding"


class EmptyBodyError(ServiceError):
    """The body, or the file in it, is empty."""

    code = "empty_body"


class MultipartError(ServiceError):
    """The body is not a form with exactly one part named `file`."""

    code = "multipart"


class MalformedRequestError(ServiceError):
    """The request is not HTTP as it should be, or its body is not what its headers announce."""

    code = "malformed_request"


class HeadersTooLargeError(ServiceError):
    """The request's first line and headers have more bytes than allowed."""

    code = "headers_too_large"


class BodyTooLargeError(ServiceError):
    """The body has more bytes than allowed."""

    code = "body_too_large"


class UploadTimeoutError(ServiceError):
    """The body stalled, or took too long to arrive."""

    code = "upload_timeout"


class StorageFullError(ServiceError):
    """The server has no room to keep the body. Try again later."""

    code = "storage_full"


class ClientGoneError(ServiceError):
    """The client closed the connection: its work was dropped. Seen in logs and metrics only."""

    code = "client_gone"


class BusyError(ServiceError):
    """Too much is in flight. `Retry-After` says when to try again."""

    code = "busy"


class KeyLimitError(ServiceError):
    """The client's key has limits of its own, and one is reached. `Retry-After` says when to try again."""

    code = "key_limit"


class TooManyConnectionsError(ServiceError):
    """Too many connections are open, idle ones included."""

    code = "too_many_connections"


class NotReadyError(ServiceError):
    """The server is starting, or its engine has failed."""

    code = "not_ready"


class DrainingError(ServiceError):
    """The server is stopping and takes no new work."""

    code = "draining"


class StageTimeoutError(ServiceError):
    """A stage of the work took longer than it may."""

    code = "stage_timeout"


class InternalError(ServiceError):
    """A mistake of the server's. Nothing of it is told but the request's id, which is in its log."""

    code = "internal_error"
