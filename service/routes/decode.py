"""POST /decode: tokens to a video."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import BinaryIO

from fastapi import APIRouter, Request, Response

from cvivit.tokens.grid import TokenGrid
from service.app_state import AppState, app_state_of
from service.bodies.disconnect import while_connected
from service.bodies.media_types import GIF, JSON, MP4, TOKENS, WEBM
from service.bodies.negotiation import choose
from service.bodies.streaming import OpenFileResponse
from service.bodies.uploads import receive_body
from service.bodies.video_writing import Container, write_clips
from service.engine import Operation
from service.engine.pipeline import ClipFrames, run_clips
from service.errors import ContentTypeError, Routes
from service.openapi.body_schemas import success_response, tokens_body
from service.openapi.problem_responses import problem_responses
from service.record import RequestRecord, record_of
from service.threads import close

router = APIRouter(tags=["tokens"])

CONTAINERS: dict[str, Container] = {MP4: "mp4", WEBM: "webm", GIF: "gif"}


@router.post(
    "/decode",
    summary="Tokens to a video",
    response_class=Response,
    responses={
        200: success_response(
            *CONTAINERS, description="The video: every frame, but past 50 `fps` a GIF leaves pictures out."
        ),
        **problem_responses(Routes.WORK, Routes.TOKENS),
    },
    openapi_extra={"requestBody": tokens_body()},
)
async def decode(request: Request) -> Response:
    """Send tokens as JSON or as a safetensors file; take a video as `Accept` says, MP4 (H.264) by default.

    Only `indices` is required: `(clips, T, H, W)`, or `(T, H, W)` for one clip. `frames` is all of them and
    `fps` the model's where they are left out. A `model` that is not the one served is refused. A GIF shows
    each picture for two hundredths of a second at least: past 50 `fps` it leaves some out.
    """
    app_state, record = app_state_of(request.app), record_of(request)
    media_type = choose(request.headers.getlist("accept"), tuple(CONTAINERS))
    kind = _body_type(request)
    with record.stage("upload"):
        spool = await receive_body(request, app_state.settings, app_state.run_blocking)
    with spool, record.stage("parse"):
        async with app_state.parsing:
            body = await spool.finish()
            grid = await app_state.run_blocking(lambda: _parse(body, kind, app_state))
    work = _decode(app_state, record, grid, CONTAINERS[media_type])
    file = await while_connected(request, work, discard=close)
    return OpenFileResponse(file, media_type=media_type, filename=f"video.{CONTAINERS[media_type]}")


def _body_type(request: Request) -> str:
    """Return which of the two forms the body says it is in.

    Raises:
        ContentTypeError: neither.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json")):
        return JSON
    if media_type == TOKENS:
        return TOKENS
    raise ContentTypeError(f"tokens are sent as {JSON} or {TOKENS}; Content-Type says otherwise")


def _parse(body: BinaryIO, kind: str, app_state: AppState) -> TokenGrid:
    config, model = app_state.tokenizer.config, app_state.tokenizer.fingerprint
    limit = app_state.settings.max_tokens
    if kind == JSON:
        return TokenGrid.from_json(body.read(), config=config, model=model, max_tokens=limit)
    return TokenGrid.load(body, config=config, model=model, max_tokens=limit)


async def _decode(
    app_state: AppState, record: RequestRecord, grid: TokenGrid, container: Container
) -> BinaryIO:
    async with aclosing(_clips(app_state, record, grid)) as clips:
        return await write_clips(app_state, record, clips, fps=grid.fps, container=container)


async def _clips(
    app_state: AppState, record: RequestRecord, grid: TokenGrid
) -> AsyncGenerator[ClipFrames, None]:
    """Yield the clips of `grid`, the last without its padding."""
    left = grid.frames
    running = run_clips(app_state, record, Operation.DECODE, grid.indices, count=len(grid.indices))
    async with aclosing(running) as decoded:
        async for clip in decoded:
            yield clip[:left]
            left -= len(clip)
