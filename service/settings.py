"""Every setting of the service: its name, default, bounds and meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt
from pydantic import Field, PositiveInt, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from cvivit.runtime.device_names import check_device_name
from service.environment import PREFIX, setting_values
from service.origins import check_proxy, normalise_frame_source, normalise_origin, normalise_prefix

MEBIBYTE = 2**20

Seconds = Annotated[float, Gt(0)]
NonNegativeSeconds = Annotated[float, Ge(0)]
Names = Annotated[tuple[str, ...], NoDecode]
"""A comma-separated list. NoDecode keeps pydantic-settings from reading it as JSON."""


class Settings(BaseSettings):
    """Settings of one server process, frozen and validated.

    `max_body_bytes` is read from the environment variable `CVIVIT_MAX_BODY_BYTES` and, by
    `python -m service`, from the flag `--max-body-bytes`. A flag wins over a variable. An empty variable is
    unset. SETTINGS.md lists them all.

    Raises:
        pydantic.ValidationError: (a ValueError) a value has the wrong type, is out of bounds or makes no
            sense.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", allow_inf_nan=False)

    # The model
    model: str = Field(
        default="demo",
        min_length=1,
        description="Weights to serve: `demo`, a Hub repository, a folder or a file.",
    )
    revision: str | None = Field(
        default=None, description="Commit, tag or branch of the Hub repository; its main branch if unset."
    )
    device: str = Field(
        default="auto",
        description="Device to compute on: `auto`, `cpu`, `cuda`, `cuda:1`, or several: `cuda:0,cuda:1`.",
    )
    precision: Literal["auto", "exact", "fast"] = Field(
        default="auto",
        description="`exact` computes in float32 and `fast` in bfloat16; `auto` is fast where the hardware "
        "has it.",
    )

    kernels: Literal["auto", "plain"] = Field(
        default="auto",
        description="`auto` uses Triton kernels on CUDA if they agree with the plain modules; `plain` never.",
    )

    # The socket
    host: str = Field(
        default="127.0.0.1",
        description="Address to listen on. `::` is every address of the machine, IPv6 and IPv4; "
        "`0.0.0.0` is every IPv4 address.",
    )
    port: int = Field(
        default=8000,
        ge=0,
        le=65535,
        description="Port to listen on; 0 takes a free one. If it is unset, the variable `PORT` counts.",
    )
    uds: Path | None = Field(
        default=None, description="Path of a Unix socket to listen on, in place of `host` and `port`."
    )
    tls_certificate: Path | None = Field(
        default=None,
        description="PEM file with the certificate and its chain; the service then speaks HTTPS. SIGHUP "
        "reloads it.",
    )
    tls_key: Path | None = Field(
        default=None,
        description="PEM file with the key of the certificate; unset if the same file holds both.",
    )
    max_connections: PositiveInt = Field(
        default=1024,
        description="Connections open at the same time, idle ones included. Further ones are answered 503 "
        "and closed.",
    )
    max_header_bytes: PositiveInt = Field(
        default=32 * 1024,
        description="Bytes of a request's first line and headers; a request with more is answered 431.",
    )
    header_seconds: Seconds = Field(
        default=10, description="Time for a request's headers to arrive, and for a TLS handshake."
    )
    idle_seconds: Seconds = Field(
        default=75,
        description="Time that a connection is kept open between requests. Keep it above the idle time of "
        "a load balancer in front, which is often 60 s.",
    )
    send_seconds: Seconds = Field(
        default=30,
        description="Time in which a client takes no byte of its answer before its connection is cut. "
        "However slow, a client that goes on reading is not cut.",
    )
    half_close: Literal["drop", "answer"] = Field(
        default="drop",
        description="What to do when a client stops sending while its request is being worked on. "
        "`drop`: the client has left, so the work stops. `answer`: it may still read (`nc -N`), so the work "
        "is finished, also for clients that have left. Over TLS it is always `drop`.",
    )

    # Proxies in front
    root_path: str = Field(
        default="",
        description="Prefix of every path as clients see it, such as `/video`, where a proxy adds one. "
        "Requests work whether the proxy removes it or not.",
    )
    trusted_proxies: Names = Field(
        default=(),
        description="Proxies whose `X-Forwarded-Prefix`, `-Proto`, `-Host` and `-For` are believed: "
        "addresses and networks, comma-separated, `unix` for the Unix socket or `*` for anyone. "
        "Nobody by default.",
    )

    # Uploads
    max_body_bytes: PositiveInt = Field(default=64 * MEBIBYTE, description="Bytes of a request's body.")
    spool_bytes: int = Field(
        default=MEBIBYTE,
        ge=0,
        description="Bytes of a body that are kept in memory; a longer body is written to a file.",
    )
    spool_dir: Path | None = Field(
        default=None,
        description="Folder for bodies longer than `spool_bytes`; the system's temporary folder if unset.",
    )
    stall_seconds: Seconds = Field(default=10, description="Longest time without a byte of an upload.")
    upload_seconds: Seconds = Field(default=120, description="Time for a whole body to arrive.")

    # Videos
    max_pixels: PositiveInt = Field(default=4096 * 2304, description="Pixels of one frame of a video.")
    max_frames: PositiveInt = Field(
        default=40_000,
        description="Frames of a video in its file, before frames are picked at the model's rate.",
    )
    max_seconds: Seconds = Field(default=660, description="Length of a video in seconds.")
    max_streams: PositiveInt = Field(default=8, description="Streams of a video file.")
    max_clips: PositiveInt = Field(default=512, description="Clips of a video, at the model's frame rate.")
    reading_seconds: Seconds = Field(
        default=60, description="Time to decode a video: both elapsed time and time of a processor core."
    )
    decoders: PositiveInt | None = Field(
        default=None,
        description="Processes that decode videos, one at a time each. If unset: 2, or a quarter of the "
        "cores if that is more, but no more than the memory limit allows.",
    )
    decoder_wait_seconds: Seconds = Field(
        default=60, description="Time that a video may wait for a free decoding process."
    )
    decoder_memory_bytes: PositiveInt | None = Field(
        default=None,
        description="Address space of a decoder, about 230 MiB of which it starts with. If unset: 1280 MiB, "
        "or less, so that all decoders together take at most half of the memory limit.",
    )

    # Work
    max_tokens: PositiveInt = Field(default=2**20, description="Tokens of one request to `/decode`.")
    max_requests: PositiveInt = Field(
        default=64, description="Requests in flight, uploads included; further ones are answered 429."
    )
    compute_seconds: Seconds = Field(
        default=900, description="Time for the model to process a whole request, waiting included."
    )
    writing_seconds: Seconds = Field(
        default=120, description="Time to write a video once its frames are decoded."
    )

    # Access
    api_keys_file: Path | None = Field(
        default=None,
        description="File of bearer keys, one a line, read again when it changes and on SIGHUP. "
        "If unset, everyone may call.",
    )
    metrics_open: bool = Field(
        default=True, description="Whether `/metrics` needs no key when the other routes do."
    )
    cors_origins: Names = Field(
        default=(),
        description="Origins whose pages may call the service from a browser, comma-separated, such as "
        "`https://page.example`; `*` is every origin. None by default.",
    )
    frame_ancestors: Names = Field(
        default=(),
        description="Who may show the service's pages in a frame, comma-separated: origins such as "
        "`https://*.page.example`, `self` or `*`. Nobody by default.",
    )

    # Operation
    grace_seconds: NonNegativeSeconds = Field(
        default=30, description="Time for requests in flight to finish after SIGTERM."
    )
    drain_seconds: NonNegativeSeconds = Field(
        default=0,
        description="Time after SIGTERM in which the service goes on answering 503, so that load balancers "
        "notice.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level of messages that are logged."
    )
    otel_endpoint: str | None = Field(
        default=None,
        description="OTLP/HTTP endpoint that traces are sent to; needs the extra `otel`. If unset, none are "
        "sent.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the base class's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment without empty variables and without what Kubernetes sets for its Services."""
        assert isinstance(env_settings, EnvSettingsSource)
        env_settings.env_vars = setting_values(env_settings.env_vars)
        return init_settings, env_settings

    @field_validator("cors_origins", "frame_ancestors", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Split a comma-separated list, which is how variables and flags write lists."""
        if not isinstance(value, str):
            return value
        return tuple(entry.strip() for entry in value.split(",") if entry.strip())

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(normalise_origin(origin) for origin in origins))

    @field_validator("frame_ancestors")
    @classmethod
    def _frame_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(normalise_frame_source(source) for source in sources))

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(check_proxy(proxy) for proxy in proxies))

    @field_validator("device")
    @classmethod
    def _devices(cls, value: str) -> str:
        for name in value.split(","):
            check_device_name(name.strip())
        return value

    @field_validator("root_path")
    @classmethod
    def _prefix(cls, value: str) -> str:
        return normalise_prefix(value)

    @model_validator(mode="after")
    def _key_has_a_certificate(self) -> Self:
        if self.tls_key is not None and self.tls_certificate is None:
            raise ValueError("tls_key: there is no tls_certificate that this key belongs to")
        return self

    def limits(self) -> dict[str, int | float]:
        """Return the limits that a client may run into, by the name of the setting."""
        names = (
            "max_connections",
            "max_header_bytes",
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
        "Each setting is an environment variable and a flag of `python -m service`: `CVIVIT_MAX_CLIPS=64` or",
        "`--max-clips 64`. A flag wins over a variable. An empty variable is unset. `GET /info` shows the",
        "limits that hold.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        default = f"`{field.default}`" if field.default not in (None, (), "") else ""
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join([*lines, ""])
