"""GET /docs and /errors: documentation that a person opens in a browser."""

from __future__ import annotations

import html
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse

from service.errors import NotFoundError
from service.openapi.document import OPENAPI_PATH
from service.problems import catalogue, meaning_of, status_of

router = APIRouter(include_in_schema=False)

DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Swagger UI comes from here and runs no script that is written into the page; it does style by attribute."""

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
"""Files of Swagger UI, which the package fastapi-offline carries: the page works without the internet."""

PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = f"""\
SwaggerUIBundle({{
  url: "{OPENAPI_PATH.removeprefix("/")}",
  dom_id: "#page",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis, SwaggerUIBundle.SwaggerUIStandalonePreset],
  layout: "BaseLayout",
}});
"""

ERRORS_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
ERRORS = """\
<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Errors</title>
<style>
body { font-family: sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
td, th { text-align: left; padding: .3rem 1rem .3rem 0; vertical-align: top }
td:nth-child(2) { font-family: monospace }
:target { background: #ffefa8 }
</style>
<h1>Errors</h1>
<p>Every failed request is answered with <code>application/problem+json</code> (RFC 9457). Its
<code>code</code> is stable.
<table>
<tr><th>status<th>code<th>meaning
"""


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Show the OpenAPI document."""
    page = PAGE.format(title=html.escape(request.app.title))
    return HTMLResponse(page, headers={"Content-Security-Policy": DOCS_POLICY})


@router.get("/docs/start.js")
async def start() -> Response:
    """Answer the script that opens the OpenAPI document."""
    return Response(START, media_type="text/javascript")


@router.get("/docs/{name}")
async def asset(name: str) -> Response:
    """Answer a file of Swagger UI."""
    if name not in ASSETS:
        raise NotFoundError("there is nothing here; /docs lists the routes")
    headers = {"Cache-Control": "max-age=86400"}
    return Response(_contents(name), media_type=ASSETS[name], headers=headers)


@router.get("/errors")
async def errors() -> Response:
    """Answer the list of errors, which a problem's `type` links to."""
    rows = [
        f'<tr id="{kind.code}"><td>{status_of(kind)}<td>{kind.code}<td>{html.escape(meaning_of(kind))}'
        for kind in catalogue()
    ]
    return HTMLResponse(ERRORS + "\n".join(rows), headers={"Content-Security-Policy": ERRORS_POLICY})


@cache
def _contents(name: str) -> bytes:
    """Return a file of Swagger UI: whole, for Starlette answers a range it cannot give in plain text.

    The package that carries it is found without being imported.
    """
    spec = find_spec("fastapi_offline")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "static" / name).read_bytes()
