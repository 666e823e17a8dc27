"""Build the application: its middleware, its routes, and the objects that start and stop with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog
from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import APIRouter, FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from cvivit import __version__
from cvivit.errors import ConfigError
from cvivit.tokenizer import VideoTokenizer
from service import problems
from service.app_state import AppState
from service.middleware.access import AccessMiddleware, open_paths
from service.middleware.admission import AdmissionMiddleware
from service.middleware.api_keys import ApiKeys
from service.middleware.cross_origin import CrossOriginMiddleware
from service.middleware.head import HeadMiddleware
from service.middleware.observation import ObserveMiddleware, ProblemMiddleware
from service.middleware.proxy import MissingSlashMiddleware, ProxyMiddleware
from service.middleware.security_headers import SecurityHeadersMiddleware
from service.openapi.document import DESCRIPTION, OPENAPI_PATH, describe
from service.record import is_request_id
from service.routes import decode, demo, encode, health, info, page, reconstruct
from service.settings import Settings
from service.telemetry.tracing import trace_requests

log = structlog.get_logger("service")

PAGE_ROUTERS = (demo.router, page.router)
"""Pages that a browser shows. They need no key, and ask for one when they call."""
ROUTERS = (encode.router, decode.router, reconstruct.router, info.router, health.router, *PAGE_ROUTERS)


def create_app(
    settings: Settings | None = None,
    *,
    tokenizers: Sequence[VideoTokenizer] = (),
    in_background: bool = False,
) -> FastAPI:
    """Return the service as an ASGI application. Its lifespan loads the model, warms up and finally stops.

    Args:
        settings: from the environment if None.
        tokenizers: models that are already loaded, one for each device, in place of `settings.model`.
        in_background: whether the lifespan starts at once and loads the model while `/livez` is already
            answered. Only a server that watches the lifecycle should ask for this, as `service.server.run`
            does.

    Raises:
        ConfigError: a setting names a file that cannot be used, or contradicts the routes.
    """
    settings = settings or Settings()
    _check_prefix(settings.root_path)
    keys = None if settings.api_keys_file is None else ApiKeys(settings.api_keys_file)
    opened = open_paths([*_paths(*PAGE_ROUTERS), OPENAPI_PATH], metrics_open=settings.metrics_open)
    app_state = AppState(settings, tokenizers=tokenizers, in_background=in_background)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watching = None if keys is None else asyncio.create_task(keys.watch())
        try:
            async with app_state:
                try:
                    yield
                except asyncio.CancelledError:
                    # uvicorn cancels the lifespan where it is told to stop at once. Starlette would log this
                    # as an error, with its traceback.
                    log.warning("stopped at once")
        finally:
            if watching is not None:
                watching.cancel()
        if flush_spans is not None:
            await asyncio.to_thread(flush_spans)

    app = FastAPI(
        title="phenaki-cvivit",
        summary="Videos to tokens and back.",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, app_state, keys, opened),
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,  # such a redirect would lead to the host that the client named
    )
    app.state.app_state = app_state
    app.state.api_keys = keys
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    describe(app, open_paths=None if keys is None else opened, tokenizer=lambda: app_state.tokenizer)
    flush_spans = trace_requests(app, settings.otel_endpoint) if settings.otel_endpoint else None
    return app


def _middleware(
    settings: Settings, app_state: AppState, keys: ApiKeys | None, opened: frozenset[str]
) -> list[Middleware]:
    """Return the middleware, outermost first."""
    listed = [
        # First, because all others look at the path, which this corrects.
        Middleware(ProxyMiddleware, root_path=settings.root_path, trusted=settings.trusted_proxies),
        Middleware(CorrelationIdMiddleware, header_name="X-Request-ID", validator=is_request_id),
        Middleware(ObserveMiddleware, metrics=app_state.metrics, routes={*_paths(*ROUTERS), OPENAPI_PATH}),
        Middleware(SecurityHeadersMiddleware, frame_ancestors=settings.frame_ancestors),
    ]
    if settings.cors_origins:
        listed.append(
            Middleware(
                CrossOriginMiddleware,
                allow_origins=settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type", "x-request-id"],
                expose_headers=["x-request-id", "server-timing", "x-psnr", "x-ssim", "retry-after"],
            )
        )
    listed.append(Middleware(ProblemMiddleware))
    if keys is not None:
        listed.append(Middleware(AccessMiddleware, keys=keys, opened=opened))
    listed.append(Middleware(MissingSlashMiddleware))
    listed.append(Middleware(AdmissionMiddleware, lifecycle=app_state.lifecycle))
    listed.append(Middleware(HeadMiddleware))
    return listed


def _paths(*routers: APIRouter) -> list[str]:
    return [route.path for router in routers for route in router.routes if isinstance(route, Route)]


def _check_prefix(root_path: str) -> None:
    """Refuse a prefix that is itself a route: a request for it could then mean either of two things."""
    first = "/" + root_path.strip("/").partition("/")[0]
    routes = {"/" + path.strip("/").partition("/")[0] for path in (*_paths(*ROUTERS), OPENAPI_PATH)}
    if root_path and first in routes:
        raise ConfigError(f"root_path: {first} is a route of the service; choose another prefix")
