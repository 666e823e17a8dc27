"""The media types that routes take and give."""

from __future__ import annotations

from typing import Final

TOKENS: Final = "application/octet-stream"
"""The safetensors form of tokens. A video may be sent under this type too."""
JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
"""One JSON value a line."""
MP4: Final = "video/mp4"
WEBM: Final = "video/webm"
GIF: Final = "image/gif"
ZIP: Final = "application/zip"
PIXELS: Final = "application/x-npy"
"""A numpy array in the .npy format."""
FORM: Final = "multipart/form-data"


def essence(content_type: str) -> str:
    """Return the media type that a Content-Type header names, in lower case and without its parameters."""
    return content_type.partition(";")[0].strip().lower()
