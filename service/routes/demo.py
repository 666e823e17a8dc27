"""GET / and /web/...: the demo page and its files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response

from service.errors import NotFoundError

router = APIRouter(include_in_schema=False)

FOLDER = Path(__file__).parents[1] / "web"
"""The page's files. They need no build step and load nothing from elsewhere."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page. `blob:` is for videos that the page makes of answers."""

PERMISSIONS = "camera=(self), microphone=(), geolocation=()"
"""Permissions-Policy of the page, the only one that may ask for the camera."""

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mp4": "video/mp4",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class PageFile:
    """One file of the page, kept in memory.

    Attributes:
        contents: its bytes.
        etag: a quoted digest of them, by which a browser asks whether its copy is still right.
    """

    contents: bytes
    media_type: str
    etag: str

    def answer(self, request: Request, **headers: str) -> Response:
        """Return the file, or 304 without it where the browser's copy is the same."""
        # Browsers check their copy each time, so that after an upgrade no page runs with an old script.
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", **headers}
        if self.etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
            return Response(status_code=304, headers=headers)
        return Response(self.contents, media_type=self.media_type, headers=headers)


@cache
def page_files() -> dict[str, PageFile]:
    """Return the page's files by name."""
    found = {}
    for path in FOLDER.iterdir():
        if path.suffix in MEDIA_TYPES:
            contents = path.read_bytes()
            digest = hashlib.sha256(contents).hexdigest()[:32]
            found[path.name] = PageFile(contents, MEDIA_TYPES[path.suffix], f'"{digest}"')
    return found


@router.get("/")
async def page(request: Request) -> Response:
    """Show the demo page."""
    headers = {"Content-Security-Policy": POLICY, "Permissions-Policy": PERMISSIONS}
    return page_files()["index.html"].answer(request, **headers)


@router.get("/web/{name}")
async def file(request: Request, name: str) -> Response:
    """Answer a file of the demo page."""
    if name not in page_files() or name == "index.html":
        raise NotFoundError("the demo page has no file of this name")
    return page_files()[name].answer(request)
