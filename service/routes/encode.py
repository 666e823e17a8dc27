"""POST /encode: a video to its tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import numpy as np
from fastapi import APIRouter, Depends, Request, Response
from starlette.types import Scope

from cvivit.tokens.grid import TokenGrid
from service.app_state import AppState, app_state_of
from service.bodies.body_spool import BodySpool
from service.bodies.disconnect import while_connected
from service.bodies.media_types import JSON, LINES, TOKENS
from service.bodies.negotiation import choose
from service.bodies.query_parameters import VideoParameters, VideoQuery, check_query_parameters
from service.bodies.streaming import start_stream
from service.bodies.uploads import receive_file
from service.engine.pipeline import EncodedClip, encode_video
from service.errors import Routes
from service.middleware.observation import tell
from service.openapi.body_schemas import success_response, tokens_schema, video_body
from service.openapi.problem_responses import problem_responses
from service.record import RequestRecord, record_of

router = APIRouter(tags=["tokens"], dependencies=[Depends(check_query_parameters)])

OFFERED = (JSON, TOKENS, LINES)


@router.post(
    "/encode",
    summary="A video to its tokens",
    response_class=Response,
    responses={
        200: success_response(*OFFERED, schema=tokens_schema(), description="The tokens, clip by clip."),
        **problem_responses(Routes.WORK, Routes.VIDEO),
    },
    openapi_extra={"requestBody": video_body()},
)
async def encode(request: Request, parameters: VideoQuery) -> Response:
    """Send a video as the form field `file`, or as the body itself. The `Accept` header chooses what you get.

    `application/json` is the default, and `application/octet-stream` is a safetensors file.
    `application/x-ndjson` sends a line `{"clip", "indices"}` for each clip as soon as it is ready, and at the
    end a line `{"model", "shape", "frames", "fps"}`. If that stream fails midway, its last line is a problem.
    """
    app_state, record = app_state_of(request.app), record_of(request)
    media_type = choose(request.headers.getlist("accept"), OFFERED)
    with record.stage("upload"):
        spool = await receive_file(request, app_state.settings, app_state.run_blocking)
    if media_type == LINES:
        return await _stream(request, app_state, record, spool, parameters)
    with spool:
        write = _json if media_type == JSON else _safetensors
        clips = _encode(app_state, record, spool, parameters)
        body = await while_connected(request, write(app_state, clips))
    return Response(body, media_type=media_type)


async def _encode(
    app_state: AppState, record: RequestRecord, spool: BodySpool, parameters: VideoParameters
) -> AsyncGenerator[EncodedClip, None]:
    """Yield the tokens of each clip of the video in a spool, which is closed in the end."""
    with spool:
        reader = app_state.read(await spool.finish(), **parameters.model_dump())
        async with aclosing(encode_video(app_state, record, reader)) as clips:
            async for clip in clips:
                yield clip


async def _json(app_state: AppState, clips: AsyncGenerator[EncodedClip, None]) -> bytes:
    """Return the JSON form of a TokenGrid. It is written clip by clip, so as not to block the event loop."""
    frames = 0
    written = []
    async with aclosing(clips):
        async for clip in clips:
            frames += clip.frames
            written.append(_dump(clip.indices.tolist()))
    summary = _dump(_summary(app_state, clips=len(written), frames=frames))
    return b"".join([summary[:-1], b',"indices":[', b",".join(written), b"]}"])


async def _safetensors(app_state: AppState, clips: AsyncGenerator[EncodedClip, None]) -> bytes:
    """Return the safetensors form of a TokenGrid."""
    async with aclosing(clips):
        encoded = [clip async for clip in clips]

    def save() -> bytes:
        grid = TokenGrid(
            indices=np.stack([clip.indices for clip in encoded]),
            frames=sum(clip.frames for clip in encoded),
            fps=app_state.tokenizer.config.fps,
            model=app_state.tokenizer.fingerprint,
        )
        return grid.to_bytes()

    return await app_state.run_blocking(save)


async def _stream(
    request: Request,
    app_state: AppState,
    record: RequestRecord,
    spool: BodySpool,
    parameters: VideoParameters,
) -> Response:
    lines = _lines(app_state, _encode(app_state, record, spool, parameters))
    try:
        return await start_stream(
            request, app_state, lines, media_type=LINES, last_chunk=partial(_problem_line, request.scope)
        )
    except BaseException:
        spool.close()  # `_encode` does not close it if it was never started
        raise


async def _lines(
    app_state: AppState, clips: AsyncGenerator[EncodedClip, None]
) -> AsyncGenerator[bytes, None]:
    """Yield a line for each clip, and a last one with the other fields of the tokens."""
    count = frames = 0
    async with aclosing(clips):
        async for clip in clips:
            yield _dump({"clip": count, "indices": clip.indices.tolist()}) + b"\n"
            count += 1
            frames += clip.frames
    yield _dump(_summary(app_state, clips=count, frames=frames)) + b"\n"


def _problem_line(scope: Scope, error: Exception) -> bytes:
    return _dump(tell(error, scope).problem) + b"\n"


def _summary(app_state: AppState, *, clips: int, frames: int) -> dict[str, Any]:
    config = app_state.tokenizer.config
    return {
        "model": app_state.tokenizer.fingerprint,
        "shape": [clips, *config.grid],
        "frames": frames,
        "fps": config.fps,
    }


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
