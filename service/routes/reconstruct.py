"""POST /reconstruct: a video beside its reconstruction from tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import BinaryIO

import numpy as np
from fastapi import APIRouter, Depends, Request, Response

from cvivit.metrics import ReconstructionQuality
from service.app_state import AppState, app_state_of
from service.bodies.disconnect import while_connected
from service.bodies.media_types import MP4
from service.bodies.negotiation import choose
from service.bodies.query_parameters import VideoQuery, check_query_parameters
from service.bodies.streaming import OpenFileResponse
from service.bodies.uploads import receive_file
from service.bodies.video_writing import write_clips
from service.decoding import DecodedClips
from service.engine.pipeline import ClipFrames, reconstruct_video
from service.errors import Routes
from service.openapi.body_schemas import success_response, video_body
from service.openapi.problem_responses import problem_responses
from service.record import RequestRecord, record_of
from service.threads import close

router = APIRouter(tags=["tokens"], dependencies=[Depends(check_query_parameters)])

QUALITY_HEADERS = {
    "X-PSNR": {
        "description": "Peak signal-to-noise ratio of the reconstruction in dB; `inf` where it is perfect.",
        "schema": {"type": "string", "examples": ["24.31"]},
    },
    "X-SSIM": {
        "description": "Structural similarity, mean over the frames.",
        "schema": {"type": "string", "examples": ["0.7421"]},
    },
}


@router.post(
    "/reconstruct",
    summary="A video beside its reconstruction",
    response_class=Response,
    responses={
        200: {
            **success_response(MP4, description="The original on the left, its reconstruction on the right."),
            "headers": QUALITY_HEADERS,
        },
        **problem_responses(Routes.WORK, Routes.VIDEO),
    },
    openapi_extra={"requestBody": video_body()},
)
async def reconstruct(request: Request, parameters: VideoQuery) -> Response:
    """Send a video. You get an MP4 of it, as the model sees it, beside its reconstruction."""
    app_state, record = app_state_of(request.app), record_of(request)
    choose(request.headers.getlist("accept"), (MP4,))
    with record.stage("upload"):
        spool = await receive_file(request, app_state.settings, app_state.run_blocking)
    with spool:
        reader = app_state.read(await spool.finish(), **parameters.model_dump())
        work = _side_by_side(app_state, record, reader)
        file, quality = await while_connected(request, work, discard=lambda made: close(made[0]))
    return OpenFileResponse(
        file,
        media_type=MP4,
        filename="reconstruction.mp4",
        headers={"X-PSNR": f"{quality.psnr:.2f}", "X-SSIM": f"{quality.ssim:.4f}"},
    )


async def _side_by_side(
    app_state: AppState, record: RequestRecord, reader: DecodedClips
) -> tuple[BinaryIO, ReconstructionQuality]:
    """Return the video of original and reconstruction, and how close the reconstruction is."""
    quality = ReconstructionQuality()

    async def pairs() -> AsyncGenerator[ClipFrames, None]:
        """Yield each clip (t h w c) with its reconstruction on its right, without padding."""
        async with aclosing(reconstruct_video(app_state, record, reader)) as clips:
            async for clip in clips:
                await app_state.run_blocking(partial(quality.add, clip.original, clip.reconstruction))
                yield np.concatenate([clip.original, clip.reconstruction], axis=2)

    async with aclosing(pairs()) as clips:
        fps = app_state.tokenizer.config.fps
        return await write_clips(app_state, record, clips, fps=fps, container="mp4"), quality
