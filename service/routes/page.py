"""GET /, /docs and /errors: what a person opens in a browser."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import RedirectResponse

from service.openapi import OPENAPI_PATH
from service.problems import errors_page

router = APIRouter(include_in_schema=False)

DOCS_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data: https://fastapi.tiangolo.com; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net; "
    "frame-ancestors 'none'"
)
"""Swagger UI comes from a content network, and FastAPI starts it by an inline script."""


@router.get("/")
async def index() -> Response:
    """Lead to the documentation."""
    return RedirectResponse("/docs")


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the OpenAPI document."""
    page = get_swagger_ui_html(openapi_url=OPENAPI_PATH, title=request.app.title)
    page.headers["Content-Security-Policy"] = DOCS_POLICY
    return page


@router.get("/errors")
async def errors() -> Response:
    """Answer the list of errors, which a problem's `type` links to."""
    return Response(errors_page(), media_type="text/markdown")
