"""What the OpenAPI document says besides the routes' own words: bodies, answers, examples, problems."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import BaseModel, Field

from cvivit import errors as codec
from cvivit.errors import CViViTError
from cvivit.frame_rate import MAX_FPS, MIN_FPS
from cvivit.tokenizer import VideoTokenizer
from cvivit.tokens.grid import TokenGrid
from service import decoding, engine, errors
from service.problems import MEDIA_TYPE, meaning_of, status_of, title_of

DESCRIPTION = """\
A video goes in, integers come out, and the other way round: the tokens of C-ViViT, the video
autoencoder of Phenaki.

Every answer carries `x-request-id` (yours, if you sent one) and `server-timing`. Every error is
`application/problem+json`; [the list of errors](errors) names their codes.
"""

OPENAPI_PATH = "/openapi.json"

TOKENS = "application/octet-stream"
JSON = "application/json"
LINES = "application/x-ndjson"
MP4 = "video/mp4"
WEBM = "video/webm"
GIF = "image/gif"

EVERYWHERE = (
    errors.MalformedRequestError,
    errors.UnauthorizedError,
    errors.HeadersTooLargeError,
    errors.TooManyConnectionsError,
    errors.InternalError,
)
"""What any route may answer."""

WORK_ERRORS = (
    errors.BusyError,
    errors.KeyLimitError,
    errors.NotReadyError,
    errors.DrainingError,
    errors.StageTimeoutError,
    errors.StorageFullError,
    errors.UploadTimeoutError,
    errors.BodyTooLargeError,
    errors.ContentEncodingError,
    errors.EmptyBodyError,
    errors.NotAcceptableError,
    engine.QueueFullError,
    engine.DeadlineExceededError,
    engine.ClipFailedError,
    engine.EngineStartingError,
    engine.EngineDrainingError,
    engine.EngineFailedError,
    codec.DeviceMemoryError,
    codec.DeviceLostError,
)
"""What any route that takes a body may answer."""

READING_ERRORS = (
    errors.MultipartError,
    codec.UnsupportedMediaError,
    codec.NoVideoStreamError,
    codec.EmptyVideoError,
    codec.CorruptVideoError,
    codec.ResolutionChangedError,
    codec.VideoTooLargeError,
    decoding.DecoderCrashedError,
    decoding.DecodingMemoryError,
    decoding.DecodingTimeoutError,
    decoding.DecodersBusyError,
    decoding.DecodingStorageError,
    decoding.DecodingStoppedError,
)
"""What a route that takes a video may answer."""

TOKEN_ERRORS = (
    errors.ContentTypeError,
    codec.TokenSyntaxError,
    codec.TokenFormatError,
    codec.TokenShapeError,
    codec.TokenRangeError,
    codec.TokenFieldError,
    codec.TooManyTokensError,
    codec.ModelMismatchError,
)
"""What a route that takes tokens may answer."""

BINARY = {"schema": {"type": "string", "format": "binary"}}

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class ProblemBody(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="Link to the list of errors.", examples=["/errors#token_range"])
    title: str = Field(examples=["Token range"])
    status: int = Field(examples=[422])
    detail: str = Field(description="One sentence for a person.")
    instance: str = Field(description="The route.", examples=["/decode"])
    code: str = Field(description="Stable identifier of the cause.", examples=["token_range"])
    limit: float | None = Field(None, description="The limit that was passed.")
    actual: float | None = Field(None, description="By how much: the value that was found.")
    limit_name: str | None = Field(None, description="Which of a video's limits it was, as `/info` names it.")
    request_id: str | None = Field(None, description="The answer's `x-request-id`.")


def describe(
    app: FastAPI, *, open_paths: Collection[str] | None, tokenizer: Callable[[], VideoTokenizer]
) -> None:
    """Complete the app's OpenAPI document by what FastAPI does not know of.

    Args:
        app: with its routes.
        open_paths: those that need no key; None where none does.
        tokenizer: returns the model that is served, or raises NotReadyError.
    """
    written_by_fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        document = written_by_fastapi()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})["ProblemBody"] = ProblemBody.model_json_schema()
        if open_paths is not None:
            components["securitySchemes"] = {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key that the operator gave you.",
                }
            }
            document["security"] = [{"key": []}]
        for path, operations in document["paths"].items():
            if open_paths is None or path in open_paths:
                for operation in operations.values():
                    operation["responses"].pop("401", None)
                    if open_paths is not None:
                        operation["security"] = []
        with suppress(errors.NotReadyError):
            _add_examples(document["paths"], tokenizer())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def is_request_id(value: str) -> bool:
    """Return whether a client's `x-request-id` may be taken over: short, and of harmless characters."""
    return _REQUEST_ID.fullmatch(value) is not None


def problem_responses(*kinds: type[CViViTError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route that may fail in these ways, and in those that any may."""
    by_status: dict[int | str, dict[str, Any]] = {}
    listed: tuple[type[CViViTError], ...] = (*EVERYWHERE, *kinds)
    for kind in listed:
        response = by_status.setdefault(
            status_of(kind) or 500,
            {
                "description": "",
                "content": {
                    MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "examples": {}}
                },
            },
        )
        meaning = meaning_of(kind)
        response["description"] += f"{' ' if response['description'] else ''}`{kind.code}`: {meaning}"
        response["content"][MEDIA_TYPE]["examples"][kind.code] = {"value": _example(kind, meaning)}
    return by_status


def answers(*media_types: str, description: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the 200 of a route that gives `media_types`; `schema` is that of its JSON."""
    content: dict[str, Any] = {
        media_type: {"schema": schema} if media_type == JSON and schema else BINARY
        for media_type in media_types
    }
    return {"description": description, "content": content}


def video_body() -> dict[str, Any]:
    """Return the `requestBody` of a route that takes a video, as a form or raw."""
    form = {
        "type": "object",
        "properties": {"file": {"type": "string", "format": "binary", "description": "The video."}},
        "required": ["file"],
    }
    return {
        "required": True,
        "description": "A video: MP4, MOV, MKV, WebM, AVI, MPEG-TS, MPEG-PS or GIF.",
        "content": {"multipart/form-data": {"schema": form}, TOKENS: BINARY, MP4: BINARY},
    }


def tokens_schema() -> dict[str, Any]:
    """Return the JSON schema of tokens as `/encode` answers them."""
    return {
        "type": "object",
        "required": ["model", "shape", "frames", "fps", "indices"],
        "properties": {
            "model": {"type": "string", "description": "Fingerprint of the weights."},
            "shape": {"type": "array", "items": {"type": "integer"}, "description": "clips, T, H, W"},
            "frames": {
                "type": "integer",
                "minimum": 1,
                "description": "Real frames: the last clip is padded.",
            },
            "fps": {"type": "number", "minimum": MIN_FPS, "maximum": MAX_FPS},
            "indices": _nested(4),
        },
    }


def tokens_body() -> dict[str, Any]:
    """Return the `requestBody` of a route that takes tokens."""
    schema = tokens_schema()
    schema["required"] = ["indices"]
    schema["additionalProperties"] = False
    schema["properties"]["indices"] = {"oneOf": [_nested(4), _nested(3)]}
    return {
        "required": True,
        "description": "Tokens: only `indices` is required. `/info` says which grid (T, H, W) a clip has.",
        "content": {JSON: {"schema": schema}, TOKENS: BINARY},
    }


def _add_examples(paths: dict[str, Any], tokenizer: VideoTokenizer) -> None:
    """Give the routes of tokens the tokens of a clip, which can be sent as they stand to the model served."""
    config = tokenizer.config
    indices = np.arange(math.prod(config.grid)).reshape(1, *config.grid) % config.codebook_size
    grid = TokenGrid(indices=indices, frames=config.clip_frames, fps=config.fps, model=tokenizer.fingerprint)
    answered = json.loads(grid.to_json())
    taken = {"frames": grid.frames, "fps": grid.fps, "indices": answered["indices"][0]}
    paths["/encode"]["post"]["responses"]["200"]["content"][JSON]["example"] = answered
    paths["/decode"]["post"]["requestBody"]["content"][JSON]["example"] = taken


def _nested(rank: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": 0}
    for _ in range(rank):
        schema = {"type": "array", "items": schema, "minItems": 1}
    return schema


def _example(kind: type[CViViTError], detail: str) -> dict[str, Any]:
    return {
        "type": f"/errors#{kind.code}",
        "title": title_of(kind),
        "status": status_of(kind),
        "detail": detail,
        "instance": "/encode",
        "code": kind.code,
        "limit": None,
        "actual": None,
        "request_id": "5f0c2c7e1d3a4b6f8a9b0c1d2e3f4a5b",
    }
