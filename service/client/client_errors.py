"""The errors that the client raises.

::

    CViViTError
    └── ClientError
        ├── ConnectionFailedError  no connection, or it broke before the answer began
        ├── AnswerTimeoutError     the server sent nothing for longer than the timeout
        ├── IncompleteAnswerError  the answer began and broke off
        ├── UnexpectedAnswerError  the answer is not one of this service
        ├── RetryLaterError        the server asks to wait for longer than the client waits
        └── ProblemError           the service answered with an error

A ProblemError is also an instance of the class that has its code in `cvivit.errors` or `service.errors`. So
`except CorruptVideoError` catches the same error of the library and of the client.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from cvivit.errors import CViViTError, DeviceError, TokensError, VideoError
from service.decoding import decoding_errors  # noqa: F401 - its classes are found through ServiceError
from service.engine import engine_errors  # noqa: F401 - and these
from service.errors import ServiceError, subclasses_of


class ClientError(CViViTError):
    """Root of the errors that the client raises."""

    code = "client_error"


class ConnectionFailedError(ClientError):
    """There is no connection to the server, or it broke before the answer began."""

    code = "connection_failed"


class AnswerTimeoutError(ClientError):
    """The server sent nothing for longer than the timeout. `limit` is in seconds."""

    code = "answer_timeout"


class IncompleteAnswerError(ClientError):
    """The answer began and broke off. The request was not sent again, as its work may have been done."""

    code = "incomplete_answer"


class UnexpectedAnswerError(ClientError):
    """The answer is not one of this service: a proxy answered, or the URL is that of another server."""

    code = "unexpected_answer"


class RetryLaterError(ClientError):
    """The server asks to wait for longer than the client waits by itself."""

    code = "retry_later"

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ProblemError(ClientError):
    """The service answered with an error (RFC 9457).

    Attributes:
        status: the HTTP status.
        code: the stable identifier of the cause, as ERRORS.md lists it.
        title: what happened, in a few words.
        limit: the limit that the request exceeded, if any.
        actual: the value that exceeded it, where it is known.
        limit_name: which of the limits of a video it was, if any.
        request_id: under which the server's log has the request.
        retry_after_seconds: when the server asks to try again, if it does.
    """

    def __init__(
        self, problem: Mapping[str, Any], *, status: int, retry_after_seconds: float | None = None
    ) -> None:
        text = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
        CViViTError.__init__(self, text, limit=_number(problem, "limit"), actual=_number(problem, "actual"))
        self.problem = dict(problem)
        self.status = status
        self.code = str(problem.get("code", "unknown"))  # type: ignore[misc]  # a class attribute elsewhere
        self.title = str(problem.get("title", ""))
        self.limit_name = problem.get("limit_name")
        self.request_id = problem.get("request_id")
        self.retry_after_seconds = retry_after_seconds
        self.headers: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return problem_error, (self.problem, self.status, self.retry_after_seconds)


def problem_error(
    problem: Mapping[str, Any], status: int, retry_after_seconds: float | None = None
) -> ProblemError:
    """Return the error of a problem, in the class that its code names."""
    kind = _class_of(str(problem.get("code")))
    return kind(problem, status=status, retry_after_seconds=retry_after_seconds)


def _class_of(code: str) -> type[ProblemError]:
    return _classes().get(code, ProblemError)


@cache
def _classes() -> dict[str, type[ProblemError]]:
    """Return a class for each code that this version knows: a ProblemError and the class with that code."""
    roots: list[type[CViViTError]] = [VideoError, TokensError, DeviceError]
    kinds = [*roots, *(kind for root in [*roots, ServiceError] for kind in subclasses_of(root))]
    return {kind.code: type(kind.__name__, (ProblemError, kind), {"__doc__": kind.__doc__}) for kind in kinds}


def _number(problem: Mapping[str, Any], name: str) -> float | None:
    value = problem.get(name)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
