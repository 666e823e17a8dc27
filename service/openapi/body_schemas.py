"""The bodies that routes take and give, as the OpenAPI document describes them."""

from __future__ import annotations

from typing import Any

from cvivit.config import MAX_FPS, MIN_FPS
from service.bodies.media_types import FORM, JSON, MP4, TOKENS

BINARY = {"schema": {"type": "string", "format": "binary"}}


def success_response(
    *media_types: str, description: str, schema: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the 200 of a route that gives `media_types`. `schema` describes its JSON, if it gives JSON."""
    content: dict[str, Any] = {
        media_type: {"schema": schema} if media_type == JSON and schema else BINARY
        for media_type in media_types
    }
    return {"description": description, "content": content}


def video_body() -> dict[str, Any]:
    """Return the `requestBody` of a route that takes a video, in a form or as the body itself."""
    form = {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary", "description": "The video."}},
        "required": ["file"],
    }
    return {
        "required": True,
        "description": "A video: MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG-PS or GIF.",
        "content": {FORM: {"schema": form}, TOKENS: BINARY, MP4: BINARY},
    }


def tokens_schema() -> dict[str, Any]:
    """Return the JSON schema of tokens as `/encode` gives them."""
    return {
        "type": "object",
        "required": ["model", "shape", "frames", "fps", "indices"],
        "properties": {
            "model": {"type": "string", "description": "Fingerprint of the weights."},
            "shape": {
                "type": "array",
                "items": {"type": "integer"},
                "description": "Shape of `indices`: clips, T, H, W.",
            },
            "frames": {
                "type": "integer",
                "minimum": 1,
                "description": "How many frames are real: the last clip was padded with its last frame.",
            },
            "fps": {"type": "number", "minimum": MIN_FPS, "maximum": MAX_FPS},
            "indices": _nested_lists(4),
        },
    }


def tokens_body() -> dict[str, Any]:
    """Return the `requestBody` of a route that takes tokens, of which only `indices` is required."""
    schema = tokens_schema()
    schema["required"] = ["indices"]
    schema["additionalProperties"] = False
    schema["properties"]["indices"] = {"oneOf": [_nested_lists(4), _nested_lists(3)]}
    return {
        "required": True,
        "description": "Tokens. Only `indices` is required. `/info` gives the grid (T, H, W) of a clip.",
        "content": {JSON: {"schema": schema}, TOKENS: BINARY},
    }


def _nested_lists(rank: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": 0}
    for _ in range(rank):
        schema = {"type": "array", "items": schema, "minItems": 1}
    return schema
