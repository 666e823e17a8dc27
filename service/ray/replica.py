"""One replica: the application with its own engine, decoders and batches, as Ray Serve runs it."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any

import ray
from prometheus_client.core import Metric
from ray import serve
from ray.exceptions import RayActorError

from cvivit.errors import ConfigError
from service.ray.agreement import NAME
from service.ray.metrics import ReplicaMetrics
from service.server.startup import choose_how_threads_wait

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger("service")

AGREEMENT_ATTEMPTS = 50
AGREEMENT_PAUSE_SECONDS = 0.2
"""A replica may start before the actor that keeps the fingerprint. It waits for that ten seconds at most."""
METRICS_SECONDS = 2.0
"""Time for the other replicas to give their metrics. A page leaves out those that do not."""


class _NoAgreementError(Exception):
    """The actor that keeps the fingerprint does not run yet, or not any more."""


@serve.ingress()
class Replica:
    """The application in one process of a Ray cluster.

    Serve starts it, routes requests to it once its model is warm, and replaces it when its health check
    fails. Its proxies own the connections.

    Args:
        settings: the values of `Settings`, the same in all replicas.
        cpus: how many cores Ray counts for the replica.
    """

    def __init__(self, settings: dict[str, Any], *, cpus: float) -> None:
        self.values = settings
        self.cpus = cpus
        self.name = serve.get_replica_context().replica_tag

    async def __serve_build_asgi_app__(self) -> FastAPI:
        """Load the model and return the application. Serve runs its lifespan, and then sends requests.

        Raises:
            CViViTError: the settings or the weights cannot be used.
            ConfigError: the weights are not those of the other replicas.
        """
        # First, because it works only before torch is loaded. For the same reason the rest is imported here.
        choose_how_threads_wait()
        from service.app import create_app
        from service.app_state import app_state_of, load
        from service.server.machine import prepare_machine
        from service.server.sizes import CORES_PER_DECODER, LEAST_DECODERS
        from service.settings import Settings
        from service.telemetry.logs import configure_logs

        settings = Settings(**self.values)
        if settings.decoders is None:
            # By default the number follows from all cores of the machine, which other replicas share.
            decoders = max(LEAST_DECODERS, math.floor(self.cpus) // CORES_PER_DECODER)
            settings = settings.model_copy(update={"decoders": decoders})
        configure_logs(settings.log_level)
        prepare_machine(settings)
        tokenizers = await asyncio.to_thread(load, settings)
        self.fingerprint = tokenizers[0].fingerprint
        await self._agree_at_first()
        app = create_app(settings, tokenizers=tokenizers)
        self.app_state = app_state_of(app)
        self.app_state.metrics.gather = self._gather
        return app

    async def check_health(self) -> None:
        """Tell Serve whether the replica works. If this raises, Serve replaces the replica.

        Raises:
            RuntimeError: the engine is lost.
            ConfigError: the weights are not those of the other replicas.
        """
        if self.app_state.lifecycle.failed:
            raise RuntimeError("the engine is lost, so this replica has to be replaced")
        try:
            await self._agree()
        except _NoAgreementError:
            log.warning("the actor that keeps the fingerprint of the deployment is being restarted")

    async def metrics_of_replica(self) -> tuple[str, list[Metric]]:
        """Return the name of this replica and its metrics."""
        return self.name, list(self.app_state.metrics.registry.collect())

    async def _gather(self) -> ReplicaMetrics:
        context = serve.get_replica_context()
        handle = serve.get_deployment_handle(context.deployment, context.app_name)
        asked = handle.broadcast("metrics_of_replica").results_async(
            timeout_s=METRICS_SECONDS, return_exceptions=True
        )
        try:
            answers = await asked
        except Exception as error:  # Serve's and Ray's own errors have no common class
            log.warning("the metrics of the other replicas are missing: %s", error)
            answers = []
        pages = dict(answer for answer in answers if not isinstance(answer, BaseException))
        pages.setdefault(*await self.metrics_of_replica())
        return ReplicaMetrics(sorted(pages.items()))

    async def _agree_at_first(self) -> None:
        for attempt in range(1, AGREEMENT_ATTEMPTS + 1):
            try:
                await self._agree()
            except _NoAgreementError:
                if attempt == AGREEMENT_ATTEMPTS:
                    raise
                await asyncio.sleep(AGREEMENT_PAUSE_SECONDS)
            else:
                return

    async def _agree(self) -> None:
        try:
            # Looked up anew each time, because Serve may have replaced the actor.
            actor = await asyncio.to_thread(serve.get_deployment_actor, NAME)
            agreed = await actor.agree.remote(self.fingerprint)
        except (ValueError, RayActorError) as error:
            raise _NoAgreementError from error
        if agreed != self.fingerprint:
            raise ConfigError(
                f"model: this replica (node {ray.get_runtime_context().get_node_id()}) has weights with the "
                f"fingerprint {self.fingerprint}, and the other replicas have {agreed}"
            )
