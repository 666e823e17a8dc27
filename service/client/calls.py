"""The requests that both clients send."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import httpx

from cvivit.tokens import TokenGrid
from service.bodies.media_types import GIF, JSON, LINES, MP4, PIXELS, TOKENS, WEBM, ZIP
from service.client.upload import AsyncVideo, Progress, Upload

Fit: TypeAlias = Literal["crop", "pad", "stretch"]
Form: TypeAlias = Literal["mp4", "webm", "gif", "zip", "npy"]
"""What tokens are decoded to: a video, a zip archive with an MP4 for each clip, or an array of pixels."""

FORMS: Final[dict[Form, str]] = {"mp4": MP4, "webm": WEBM, "gif": GIF, "zip": ZIP, "npy": PIXELS}

MAX_TIMEOUT_SECONDS: Final = 1_000_000.0
"""The longest timeout, eleven days. The system's timers hold little more, and none of them "for ever"."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request."""

    method: Literal["GET", "POST"]
    path: str
    accept: str
    parameters: dict[str, Any] = field(default_factory=dict)
    upload: Upload | None = None

    @property
    def headers(self) -> dict[str, str]:
        """Its headers."""
        return {"Accept": self.accept} | ({} if self.upload is None else self.upload.headers)


INFO: Final = Call(method="GET", path="info", accept=JSON)


def encode_call(
    video: AsyncVideo,
    *,
    stream: bool,
    fit: Fit,
    start: float,
    seconds: float | None,
    progress: Progress | None,
) -> Call:
    """Return the request that encodes a video."""
    return Call(
        method="POST",
        path="encode",
        accept=LINES if stream else TOKENS,
        parameters=_parameters(fit, start, seconds),
        upload=Upload(video, progress),
    )


def reconstruct_call(
    video: AsyncVideo, *, fit: Fit, start: float, seconds: float | None, progress: Progress | None
) -> Call:
    """Return the request that reconstructs a video."""
    return Call(
        method="POST",
        path="reconstruct",
        accept=MP4,
        parameters=_parameters(fit, start, seconds),
        upload=Upload(video, progress),
    )


def decode_call(grid: TokenGrid, *, form: Form) -> Call:
    """Return the request that decodes tokens."""
    return Call(method="POST", path="decode", accept=FORMS[form], upload=Upload(grid.to_bytes()))


def form_of(destination: object, form: Form | None) -> Form:
    """Return the form to decode to: `form`, or that of the suffix of a path, or MP4 for a file object.

    Raises:
        ValueError: it is not known.
    """
    if form is None and isinstance(destination, str | os.PathLike):
        suffix = Path(destination).suffix[1:].lower()
        known = next((known for known in FORMS if known == suffix), None)
        if known is None:
            raise ValueError(
                f"the suffix of {Path(destination).name!r} is none of {', '.join(FORMS)}; "
                "rename the file, or name the form"
            )
        return known
    if form is not None and form not in FORMS:
        raise ValueError(f"form: {form!r} is none of {', '.join(FORMS)}")
    return form or "mp4"


def check_client_settings(url: str, *, timeout: float, retries: int) -> None:
    """Check the settings of a client.

    Raises:
        ValueError: a value is out of range.
    """
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url: {url!r} must begin with http:// or https://")
    try:
        host = httpx.URL(url).host
    except httpx.InvalidURL as error:
        raise ValueError(f"url: {url!r} is not a URL: {error}") from error
    if not host or any(letter.isspace() for letter in url):
        raise ValueError(f"url: {url!r} must name a host, and hold no blanks")
    if not 0 < timeout <= MAX_TIMEOUT_SECONDS:
        raise ValueError(
            f"timeout: {timeout} must be a positive number of seconds, at most {MAX_TIMEOUT_SECONDS:.0f}"
        )
    if retries < 0:
        raise ValueError(f"retries: {retries} must be 0 or more")


def authorization(api_key: str | None) -> dict[str, str]:
    """Return the header that carries a key. Blanks and line breaks around it, as of a file, are left out.

    Raises:
        ValueError: no header can carry the key. The message does not show it.
    """
    if api_key is None:
        return {}
    key = api_key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("api_key: it must be one word of printable ASCII characters")
    return {"Authorization": f"Bearer {key}"}


def _parameters(fit: Fit, start: float, seconds: float | None) -> dict[str, Any]:
    """Return the query parameters, without those that have their default: old servers know fewer."""
    parameters: dict[str, Any] = {}
    if fit != "crop":
        parameters["fit"] = fit
    if start:
        parameters["start"] = start
    if seconds is not None:
        parameters["seconds"] = seconds
    return parameters
