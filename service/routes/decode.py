"""POST /decode: tokens to a video, to a video for each clip, or to pixels."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import BinaryIO

from fastapi import APIRouter, Depends, Request, Response

from cvivit.tokens.grid import TokenGrid
from cvivit.video import VideoContainer
from service.app_state import AppState, app_state_of
from service.bodies.clip_archive import archive_clips
from service.bodies.disconnect import while_connected
from service.bodies.media_types import GIF, JSON, MP4, PIXELS, TOKENS, WEBM, ZIP, essence
from service.bodies.negotiation import choose
from service.bodies.pixel_stream import PixelStream
from service.bodies.query_parameters import check_query_parameters
from service.bodies.streaming import OpenFileResponse, inline, start_stream
from service.bodies.uploads import content_type_of, receive_body
from service.bodies.video_writing import write_clips
from service.engine import Operation
from service.engine.pipeline import ClipFrames, run_clips
from service.errors import ContentTypeError, Routes
from service.openapi.body_schemas import success_response, tokens_body
from service.openapi.problem_responses import problem_responses
from service.record import RequestRecord, record_of
from service.threads import close

router = APIRouter(tags=["tokens"], dependencies=[Depends(check_query_parameters)])

CONTAINERS: dict[str, VideoContainer] = {MP4: "mp4", WEBM: "webm", GIF: "gif"}
OFFERED = (*CONTAINERS, ZIP, PIXELS)


@router.post(
    "/decode",
    summary="Tokens to a video",
    response_class=Response,
    responses={
        200: success_response(
            *OFFERED,
            description="The video, a zip archive with an MP4 for each clip, or the pixels as a numpy array "
            "(.npy), uint8 `(frames, height, width, 3)`.",
        ),
        **problem_responses(Routes.WORK, Routes.TOKENS),
    },
    openapi_extra={"requestBody": tokens_body()},
)
async def decode(request: Request) -> Response:
    """Send tokens as JSON or as a safetensors file. The `Accept` header chooses what you get.

    `video/mp4` (H.264, the default), `video/webm` and `image/gif` give one video. A GIF shows a picture for
    at least two hundredths of a second, so it leaves pictures out where `fps` is more than 50.
    `application/zip` gives a video for each clip: `clip-00000.mp4`, `clip-00001.mp4`, and so on.
    `application/x-npy` gives the pixels themselves. Frames that only pad the last clip are left out.

    Of the JSON fields only `indices` is required: `(clips, T, H, W)`, or `(T, H, W)` for one clip. `frames`
    defaults to all frames and `fps` to the model's rate; `null` means unset. A `model` that is not the one
    served is refused.
    """
    app_state, record = app_state_of(request.app), record_of(request)
    media_type = choose(request.headers.getlist("accept"), OFFERED)
    sent_type = _type_of_body(request)
    with record.stage("upload"):
        spool = await receive_body(request, app_state.settings, app_state.run_blocking)
    with spool, record.stage("parse"):
        # Parsing holds Python's global lock. Parsing one body at a time leaves the lock to other threads.
        async with app_state.parsing:
            body = await spool.finish()
            grid = await app_state.run_blocking(lambda: _parse(body, sent_type, app_state))
    clips = _clips(app_state, record, grid)
    if media_type == PIXELS:
        pixels = PixelStream(frames=grid.frames, size=app_state.tokenizer.config.image_size)
        headers = {"Content-Length": str(pixels.length), "Content-Disposition": inline("video.npy")}
        chunks = pixels.chunks(clips)
        return await start_stream(request, app_state, chunks, media_type=PIXELS, headers=headers)
    if media_type == ZIP:
        headers = {"Content-Disposition": inline("clips.zip")}
        chunks = archive_clips(app_state, record, clips, fps=grid.fps)
        return await start_stream(request, app_state, chunks, media_type=ZIP, headers=headers)
    container = CONTAINERS[media_type]
    file = await while_connected(
        request, _video(app_state, record, clips, grid.fps, container), discard=close
    )
    return OpenFileResponse(file, media_type=media_type, filename=f"video.{container}")


def _type_of_body(request: Request) -> str:
    """Return which of the two forms of tokens the body is in, by its Content-Type.

    Raises:
        ContentTypeError: it is in neither.
    """
    media_type = essence(content_type_of(request))
    if media_type == JSON or (media_type.startswith("application/") and media_type.endswith("+json")):
        return JSON
    if media_type == TOKENS:
        return TOKENS
    raise ContentTypeError(
        f"tokens are sent with the Content-Type {JSON}, or as a safetensors file with {TOKENS}"
    )


def _parse(body: BinaryIO, sent_type: str, app_state: AppState) -> TokenGrid:
    tokenizer, limit = app_state.tokenizer, app_state.settings.max_tokens
    config, model, tokens_of = tokenizer.config, tokenizer.fingerprint, tokenizer.tokens_of
    if sent_type == JSON:
        return TokenGrid.from_json(
            body.read(), config=config, model=model, tokens_of=tokens_of, max_tokens=limit
        )
    return TokenGrid.load(body, config=config, model=model, tokens_of=tokens_of, max_tokens=limit)


async def _video(
    app_state: AppState,
    record: RequestRecord,
    clips: AsyncGenerator[ClipFrames, None],
    fps: float,
    container: VideoContainer,
) -> BinaryIO:
    async with aclosing(clips):
        return await write_clips(app_state, record, clips, fps=fps, container=container)


async def _clips(
    app_state: AppState, record: RequestRecord, grid: TokenGrid
) -> AsyncGenerator[ClipFrames, None]:
    """Yield the clips of `grid`, uint8 (t h w 3), the last one without its padding."""
    left = grid.frames
    running = run_clips(app_state, record, Operation.DECODE, grid.indices, count=len(grid.indices))
    async with aclosing(running) as decoded:
        async for clip in decoded:
            yield clip[:left]
            left -= len(clip)
