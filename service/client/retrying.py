"""Decide when the client sends a request again, and how long it waits before that."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import httpx
from httpx_retries import Retry

from service.client.client_errors import RetryLaterError
from service.client.upload import Upload

BACKOFF_FACTOR: Final = 0.75
"""The waits are 1.5, 3, 6, 12 and 24 seconds, each shortened by up to a quarter so that clients spread out.
Five retries, the default, thus outlive at least 34 s of refused connections: a restart of the server."""
BACKOFF_JITTER: Final = 0.25
MAX_BACKOFF_SECONDS: Final = 60.0
MAX_RETRY_AFTER_SECONDS: Final = 300.0
"""The longest `Retry-After` that is waited for. A longer one is an error at once."""

STATUSES: Final = (
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
EXCEPTIONS: Final = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.ReadError,
    httpx.WriteError,
    httpx.RemoteProtocolError,
)
"""Errors before the answer begins. A timeout of the answer is none of them: the server may still be working
on the request, and would get the same work twice."""


class RequestRetry(Retry):
    """The policy of one request. Encoding and decoding change nothing, so a POST may be sent again."""

    upload: Upload | None = None
    """The body, where it may be one that cannot be sent twice."""

    def is_exhausted(self) -> bool:
        """Whether the request must not be sent again."""
        return super().is_exhausted() or (self.upload is not None and not self.upload.can_be_sent)

    def parse_retry_after(self, retry_after: str) -> float:
        """Return the seconds to wait: those that the server asks for, or the backoff if that is longer.

        Raises:
            RetryLaterError: the server asks for more than `MAX_RETRY_AFTER_SECONDS`.
            ValueError: it is neither a number nor a date. The caller then waits as if it said nothing.
        """
        try:
            seconds = super().parse_retry_after(retry_after)
        except OverflowError as error:  # a date whose year or time zone is beyond all dates
            raise ValueError(f"no time: {retry_after[:40]}") from error
        if seconds > MAX_RETRY_AFTER_SECONDS:
            raise RetryLaterError(
                f"the server asks to try again in {seconds:.0f} seconds; "
                f"the client waits for at most {MAX_RETRY_AFTER_SECONDS:.0f}",
                retry_after_seconds=seconds,
            )
        return max(seconds, self.backoff_strategy())

    def backoff_strategy(self) -> float:
        """Return the seconds to wait before the next attempt, if the server does not ask for more."""
        return min(super().backoff_strategy(), MAX_BACKOFF_SECONDS)

    def copy_with(self, *arguments: Any, **changes: Any) -> RequestRetry:
        """Return a copy with other values."""
        copy = super().copy_with(*arguments, **changes)
        assert isinstance(copy, RequestRetry)
        copy.upload = self.upload
        return copy


def retry_policy(retries: int, upload: Upload | None = None) -> RequestRetry:
    """Return the policy of a request that is sent at most `retries` more times."""
    policy = RequestRetry(
        total=retries,
        allowed_methods=["GET", "POST"],
        status_forcelist=STATUSES,
        retry_on_exceptions=EXCEPTIONS,
        backoff_factor=BACKOFF_FACTOR,
        backoff_jitter=BACKOFF_JITTER,
        max_backoff_wait=MAX_RETRY_AFTER_SECONDS,
    )
    policy.upload = upload
    return policy
