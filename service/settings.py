"""Every setting of the service: its name, default, bounds and meaning, from the environment or from flags."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt
from pydantic import Field, PositiveInt, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

MEBIBYTE = 2**20

Seconds = Annotated[float, Gt(0)]
NonNegativeSeconds = Annotated[float, Ge(0)]


class Settings(BaseSettings):
    """Settings of one server process, frozen and validated.

    `max_body_bytes` is read from the environment variable `CVIVIT_MAX_BODY_BYTES` and, by
    `python -m service`, from the flag `--max-body-bytes`; a flag wins. SETTINGS.md lists them all.

    Raises:
        pydantic.ValidationError: (a ValueError) a value is of another type or out of bounds.
    """

    model_config = SettingsConfigDict(env_prefix="CVIVIT_", frozen=True, extra="forbid", allow_inf_nan=False)

    # The model
    model: str = Field(
        default="demo", min_length=1, description="Weights: `demo`, a Hub repository, a folder or a file."
    )
    revision: str | None = Field(default=None, description="Commit, tag or branch of a Hub repository.")
    device: str = Field(
        default="auto", description="`auto`, `cpu`, `cuda`, `cuda:1`, or several: `cuda:0,cuda:1`."
    )
    precision: Literal["auto", "exact", "fast"] = Field(
        default="auto",
        description="`exact` is float32, `fast` is bfloat16, `auto` is fast where the hardware has it.",
    )

    # The socket
    host: str = Field(default="127.0.0.1", description="Address to listen on; `0.0.0.0` is every one.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    max_connections: PositiveInt = Field(
        default=1024, description="Open connections, idle ones included; more are answered 503 and closed."
    )
    header_seconds: Seconds = Field(default=10, description="Time for a request's headers to arrive.")
    idle_seconds: Seconds = Field(default=15, description="Time a connection is kept open between requests.")
    send_seconds: Seconds = Field(
        default=30, description="Time without progress while a client takes its answer."
    )

    # Uploads
    max_body_bytes: PositiveInt = Field(default=64 * MEBIBYTE, description="Bytes of a request's body.")
    spool_bytes: int = Field(
        default=MEBIBYTE, ge=0, description="Bytes of a body kept in memory; the rest goes to disk."
    )
    spool_dir: Path | None = Field(
        default=None, description="Folder for bodies past `spool_bytes`; the system's if unset."
    )
    stall_seconds: Seconds = Field(default=10, description="Time an upload may go without a byte.")
    upload_seconds: Seconds = Field(default=120, description="Time for a whole body to arrive.")

    # Videos
    max_pixels: PositiveInt = Field(default=4096 * 2304, description="Pixels of one frame of a video.")
    max_frames: PositiveInt = Field(default=40_000, description="Frames of a video, as decoded.")
    max_seconds: Seconds = Field(default=660, description="Length of a video in seconds.")
    max_streams: PositiveInt = Field(default=8, description="Streams of a video file.")
    max_clips: PositiveInt = Field(default=512, description="Clips of a video, at the model's frame rate.")
    reading_seconds: Seconds = Field(
        default=60, description="Time for a video to be decoded: on the clock, and of a core."
    )
    decoders: PositiveInt | None = Field(
        default=None,
        description="Processes that decode videos, one at a time each. If unset: 2, or a quarter of the "
        "cores if that is more, but no more than the memory limit allows.",
    )
    decoder_wait_seconds: Seconds = Field(default=60, description="Time for a video to wait for a decoder.")
    decoder_memory_bytes: PositiveInt | None = Field(
        default=None,
        description="Address space of a decoder, about 230 MiB of which it starts with. If unset: 1280 MiB, "
        "or less, so that all decoders together take at most half of the memory limit.",
    )

    # Work
    max_tokens: PositiveInt = Field(default=2**20, description="Tokens of one request to `/decode`.")
    max_requests: PositiveInt = Field(
        default=64, description="Requests in flight, uploads included; more are answered 429."
    )
    compute_seconds: Seconds = Field(
        default=900, description="Time for the model to answer a whole request, queue included."
    )
    writing_seconds: Seconds = Field(
        default=120, description="Time for a video to be written, once its frames are there."
    )

    # Access
    api_keys_file: Path | None = Field(
        default=None,
        description="File with one bearer key a line, `#` starts a comment; unset lets everyone in.",
    )
    metrics_open: bool = Field(
        default=True, description="Whether `/metrics` is open where keys are asked for."
    )
    cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Origins whose pages may call the service, comma-separated; none by default."
    )

    # Operation
    grace_seconds: NonNegativeSeconds = Field(
        default=30, description="Time for work in flight to finish after SIGTERM."
    )
    drain_seconds: NonNegativeSeconds = Field(
        default=0, description="Least time to answer 503 after SIGTERM, for load balancers to notice."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    otel_endpoint: str | None = Field(
        default=None, description="OTLP/HTTP traces endpoint; needs the extra `otel`. Unset sends nothing."
    )

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Read a comma-separated list: the environment and flags know no other."""
        if not isinstance(value, str):
            return value
        return tuple(origin.strip() for origin in value.split(",") if origin.strip())

    def limits(self) -> dict[str, int | float]:
        """Return the limits that a client may run into, by setting."""
        names = (
            "max_connections",
            "header_seconds",
            "idle_seconds",
            "send_seconds",
            "max_body_bytes",
            "max_pixels",
            "max_frames",
            "max_seconds",
            "max_streams",
            "max_clips",
            "max_tokens",
            "max_requests",
            "stall_seconds",
            "upload_seconds",
            "reading_seconds",
            "decoder_wait_seconds",
            "compute_seconds",
            "writing_seconds",
        )
        return {name: getattr(self, name) for name in names}


def settings_page() -> str:
    """Return SETTINGS.md: every setting, its default and its meaning."""
    lines = [
        "# Settings",
        "",
        "Each is an environment variable, and a flag of `python -m service`, which wins:",
        "`CVIVIT_MAX_CLIPS=64` or `--max-clips 64`. `GET /info` answers the limits that hold.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None or field.default == () else f"`{field.default}`"
        lines.append(f"| `CVIVIT_{name.upper()}` | {default} | {field.description} |")
    return "\n".join([*lines, ""])
