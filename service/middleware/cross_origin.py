"""Requests from pages of other origins (CORS). A preflight that is refused is answered with a problem."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.errors import CrossOriginError
from service.middleware.observation import tell


class CrossOriginMiddleware(CORSMiddleware):
    """Starlette's middleware with one change: a refused preflight is answered in JSON, not in plain text."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Return the answer to a preflight."""
        response = super().preflight_response(request_headers)
        return response if response.status_code == HTTPStatus.OK else _Refusal(response)


class _Refusal(Response):
    """A problem in place of a plain refusal, with the headers of that refusal."""

    def __init__(self, plain: Response) -> None:
        super().__init__()
        headers = {name: value for name, value in plain.headers.items() if not name.startswith("content-")}
        self._error = CrossOriginError(bytes(plain.body).decode(), headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the problem."""
        await tell(self._error, scope).response()(scope, receive, send)
