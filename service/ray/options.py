"""What an operator chooses for Ray Serve beside the settings of the service."""

from __future__ import annotations

from typing import Annotated, Any, Self

from annotated_types import Ge, Gt
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from cvivit.errors import ConfigError
from service.settings import Settings

SINGLE_DEVICES = ("auto", "cpu", "cuda", "cuda:0")
"""Devices that a replica may have. Ray gives it one GPU, which it sees as the first."""
SPARE_REQUESTS = 16
"""Requests that Serve lets into a replica beyond `max_requests`. The application refuses surplus work itself,
with a Retry-After that follows from its queue, and answers health and metrics however full it is."""


class RayOptions(BaseModel):
    """Arguments of the application: `serve run service.ray.app:app min_replicas=2`, or `args` in YAML."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    min_replicas: PositiveInt = Field(default=1, description="Replicas that always run.")
    max_replicas: PositiveInt = Field(
        default=8, description="Replicas at most. Serve starts as many as the cluster has room for."
    )
    target_requests: Annotated[float, Gt(0)] | None = Field(
        default=None,
        description="Requests in flight in a replica that autoscaling aims at; half of `CVIVIT_MAX_REQUESTS` "
        "if unset.",
    )
    gpus: Annotated[float, Ge(0)] | None = Field(
        default=None,
        description="GPUs of a replica. If unset: 0 where `CVIVIT_DEVICE` is `cpu` or the cluster has no GPU "
        "when the application is built, and 1 otherwise.",
    )
    cpus: Annotated[float, Gt(0)] = Field(
        default=2, description="Cores of a replica, for its decoders and, without a GPU, for its model."
    )
    max_queued: PositiveInt = Field(
        default=64,
        description="Requests that wait in each proxy while all replicas are full; further ones get 429.",
    )
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None,
        description="Fingerprint that the weights must have. If unset, that of the first replica holds.",
    )

    @classmethod
    def of(cls, arguments: dict[str, Any]) -> Self:
        """Return the options that `arguments` give.

        Raises:
            ConfigError: an argument is unknown or has a value that makes no sense.
        """
        try:
            return cls.model_validate(arguments)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or "arguments"
            raise ConfigError(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None

    @model_validator(mode="after")
    def _has_a_range(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas is below min_replicas, which is {self.min_replicas}")
        return self

    def deployment(self, settings: Settings, *, cluster_has_gpus: bool) -> dict[str, Any]:
        """Return the options of the deployment.

        Args:
            settings: the settings of the service in each replica.
            cluster_has_gpus: whether a replica gets a GPU if neither the options nor the settings say so.

        Raises:
            ConfigError: the settings name several devices, or one that a replica does not have.
        """
        if settings.device not in SINGLE_DEVICES:
            raise ConfigError(
                f"device: a replica has one device, and {settings.device!a} is none of "
                f"{', '.join(SINGLE_DEVICES)}; more replicas use more GPUs"
            )
        gpus = self.gpus
        if gpus is None:
            gpus = float(
                settings.device.startswith("cuda") or (settings.device == "auto" and cluster_has_gpus)
            )
        if settings.device.startswith("cuda") and not gpus:
            raise ConfigError(f"gpus: the device {settings.device} needs one")
        return {
            "max_ongoing_requests": settings.max_requests + SPARE_REQUESTS,
            "max_queued_requests": self.max_queued,
            # Serve's own answer is 503, which does not tell clients that they send too much.
            "backpressure_config": {"status_code": 429, "retry_after_s": 1.0},
            "autoscaling_config": {
                "min_replicas": self.min_replicas,
                "max_replicas": self.max_replicas,
                "target_ongoing_requests": self.target_requests or max(1.0, settings.max_requests / 2),
            },
            # Serve waits for requests in flight for so long, and then ends the process.
            "graceful_shutdown_timeout_s": settings.grace_seconds + 10,
            "graceful_shutdown_wait_loop_s": 1.0,
            "ray_actor_options": {"num_cpus": self.cpus, "num_gpus": gpus},
        }
