"""GET /info: the served model, and the limits of this server."""

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
    """What a client needs to know before it sends a video or tokens."""

    version: str = Field(description="Version of the service.")
    model: str = Field(description="Fingerprint of the weights. Tokens of other weights are refused.")
    tokens_of: list[str] = Field(
        description="Fingerprints of other weights with the same encoder, whose tokens are decoded too."
    )
    device: str
    precision: str
    kernels: str | None = Field(
        description="What computes on a CUDA device: `triton`, or `plain` where the Triton kernels cannot."
    )
    kernels_reason: str | None = Field(description="Why the Triton kernels do not compute.")
    image_size: list[int] = Field(description="Height and width of a clip in pixels.")
    clip_frames: int = Field(description="Frames of a clip.")
    fps: float = Field(description="Frames a second of a clip.")
    grid: list[int] = Field(description="Tokens of a clip: latent frames, rows, columns.")
    codebook_size: int = Field(description="A token is at least 0 and less than this.")
    limits: dict[str, int | float] = Field(description="Limits, each under the name of its setting.")
    sizes: dict[str, int] = Field(
        description="Sizes that follow from the cores and the memory that the server may use."
    )


@router.get("/info", summary="The model and the limits", responses=problem_responses(NotReadyError))
async def info(request: Request) -> Info:
    """Return the served model and the limits of this server."""
    app_state = app_state_of(request.app)
    tokenizer = app_state.tokenizer
    config = tokenizer.config
    kernels = tokenizer.runner.kernels
    return Info(
        version=request.app.version,
        model=tokenizer.fingerprint,
        tokens_of=list(tokenizer.tokens_of),
        device=str(tokenizer.runner.device),
        precision=str(tokenizer.runner.precision),
        kernels=None if kernels is None else kernels.name,
        kernels_reason=None if kernels is None else kernels.reason,
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
