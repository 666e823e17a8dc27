"""GET /info: the model that is served, and the limits that hold."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field

from service.app_state import app_state_of
from service.bodies.query_parameters import check_query_parameters
from service.errors import NotReadyError
from service.openapi.problem_responses import problem_responses

router = APIRouter(tags=["information"], dependencies=[Depends(check_query_parameters)])


class Info(BaseModel):
    """What a client may want to know before it sends a video."""

    version: str = Field(description="Version of the service.")
    model: str = Field(description="Fingerprint of the weights: tokens of other weights are not decoded.")
    device: str
    precision: str
    image_size: list[int] = Field(description="Height and width of a clip in pixels.")
    clip_frames: int = Field(description="Frames of a clip.")
    fps: float = Field(description="Frames a second of a clip.")
    grid: list[int] = Field(description="Tokens of a clip: latent frames, rows, columns.")
    codebook_size: int = Field(description="Tokens are from 0 to one less than this.")
    limits: dict[str, int | float] = Field(description="Limits by the name of their setting.")
    sizes: dict[str, int] = Field(
        description="Sizes that follow from the cores and the memory that the server may use."
    )


@router.get("/info", summary="The model and the limits", responses=problem_responses(NotReadyError))
async def info(request: Request) -> Info:
    """Describe the model that is served and the limits of this server."""
    app_state = app_state_of(request.app)
    tokenizer = app_state.tokenizer
    config = tokenizer.config
    return Info(
        version=request.app.version,
        model=tokenizer.fingerprint,
        device=str(tokenizer.runner.device),
        precision=str(tokenizer.runner.precision),
        image_size=list(config.image_size),
        clip_frames=config.clip_frames,
        fps=config.fps,
        grid=list(config.grid),
        codebook_size=config.codebook_size,
        limits={
            **app_state.settings.limits(),
            "decoder_memory_bytes": app_state.sizes.decoder_memory_bytes,
        },
        sizes=asdict(app_state.sizes),
    )
