"""The application for `serve run service.ray.app:app` and `serve deploy`."""

from __future__ import annotations

import os
from typing import Any

import ray
from pydantic import ValidationError
from ray import serve
from ray._private.accelerators import get_accelerator_manager_for_resource
from ray.serve import Application, Deployment
from ray.serve.config import DeploymentActorConfig

from cvivit.errors import ConfigError
from cvivit.weights.source import pinned
from service.ray.agreement import NAME, Agreement
from service.ray.options import RayOptions
from service.ray.replica import Replica
from service.settings import Settings

PROXY_VARIABLE = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH"
"""Names a function that gives Serve's HTTP proxies their middleware. Each node reads it when it starts."""
PROXY_MIDDLEWARE = "service.ray.proxy:middleware"


def app(arguments: dict[str, Any]) -> Application:
    """Return the application. Serve calls this with the arguments after the name, or `args` in YAML.

    The settings are read here, once, so that all replicas have the same. A branch or tag of the Hub is
    replaced by the commit that it names now, so that a replica which starts next week loads the same weights.

    Args:
        arguments: see `RayOptions`.

    Raises:
        ConfigError: an argument or a setting makes no sense.
        WeightsNotFoundError, WeightsUnavailableError: the Hub does not have the model or cannot be reached.
    """
    options = RayOptions.of(arguments)
    try:
        settings = Settings()
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    settings = settings.model_copy(update={"revision": pinned(settings.model, settings.revision)})
    if not ray.is_initialized():
        # `serve run` builds the application before it starts Ray, which takes its environment from here.
        os.environ.setdefault(PROXY_VARIABLE, PROXY_MIDDLEWARE)
    deployment: Deployment = serve.deployment(
        Replica,
        name="cvivit",
        deployment_actors=[
            DeploymentActorConfig(
                name=NAME,
                actor_class=Agreement,
                init_kwargs={"fingerprint": options.fingerprint},
                actor_options={"num_cpus": 0},
            )
        ],
        **options.deployment(settings, cluster_has_gpus=_has_gpus()),
    )
    return deployment.bind(settings.model_dump(mode="json"), cpus=options.cpus)


def _has_gpus() -> bool:
    """Return whether the cluster has a GPU or, where Ray does not run yet, whether it will find one here."""
    if ray.is_initialized():
        return bool(ray.cluster_resources().get("GPU"))
    manager = get_accelerator_manager_for_resource("GPU")
    return manager is not None and manager.get_current_node_num_accelerators() > 0
