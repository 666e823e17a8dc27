"""POST /encode: a video to its tokens."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from cvivit.tokens.grid import TokenGrid
from service.app_state import AppState, app_state_of
from service.bodies.disconnect import while_connected
from service.bodies.media_types import JSON, LINES, TOKENS
from service.bodies.negotiation import choose
from service.bodies.spool import Spool
from service.bodies.streaming import GeneratorResponse
from service.bodies.uploads import receive_file
from service.engine.pipeline import EncodedClip, encode_video
from service.errors import Routes
from service.middleware.observation import tell
from service.openapi.body_schemas import success_response, tokens_schema, video_body
from service.openapi.problem_responses import problem_responses
from service.record import RequestRecord, record_of

router = APIRouter(tags=["tokens"])

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
async def encode(request: Request) -> Response:
    """Send a video as the form field `file` or as the body itself; take its tokens as `Accept` says.

    `application/json` is the default; `application/octet-stream` is a safetensors file;
    `application/x-ndjson` sends a line `{"clip", "indices"}` for each clip as soon as it is ready and then a
    line `{"model", "shape", "frames", "fps"}`. Where that stream fails midway its last line is a problem.
    """
    app_state, record = app_state_of(request.app), record_of(request)
    media_type = choose(request.headers.getlist("accept"), OFFERED)
    with record.stage("upload"):
        spool = await receive_file(request, app_state.settings, app_state.run_blocking)
    if media_type == LINES:
        return await _stream(request, app_state, record, spool)
    with spool:
        work = _json if media_type == JSON else _safetensors
        clips = encode_video(app_state, record, app_state.read(await spool.finish()))
        body = await while_connected(request, work(app_state, clips))
    return Response(body, media_type=media_type)


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


async def _stream(request: Request, app_state: AppState, record: RequestRecord, spool: Spool) -> Response:
    """Answer once there is a first line, so that what fails before it has a status of its own."""
    lines = _lines(app_state, record, spool)
    try:
        first = await while_connected(request, _next(lines))
    except BaseException:
        spool.close()  # also where it was never begun to read
        raise
    rest = app_state.lifecycle.until_dropped(lines)

    async def body() -> AsyncGenerator[bytes, None]:
        yield first
        try:
            async with aclosing(rest):
                async for line in rest:
                    yield line
        except Exception as error:
            yield _dump(tell(error, request.scope).problem) + b"\n"

    return GeneratorResponse(body(), lines, media_type=LINES)


async def _lines(app_state: AppState, record: RequestRecord, spool: Spool) -> AsyncGenerator[bytes, None]:
    with spool:
        reader = app_state.read(await spool.finish())
        clips = frames = 0
        async with aclosing(encode_video(app_state, record, reader)) as encoded:
            async for clip in encoded:
                yield _dump({"clip": clips, "indices": clip.indices.tolist()}) + b"\n"
                clips += 1
                frames += clip.frames
        yield _dump(_summary(app_state, clips=clips, frames=frames)) + b"\n"


async def _next(lines: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(lines)


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
