"""The application: one list of middleware, the routes, and what starts and stops with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from asgi_correlation_id import CorrelationIdMiddleware
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.routing import Route

from cvivit import __version__
from cvivit.tokenizer import VideoTokenizer
from service import problems
from service.app_state import AppState
from service.middleware.access import (
    AccessMiddleware,
    CrossOriginMiddleware,
    Keys,
    SecurityHeadersMiddleware,
    open_paths,
)
from service.middleware.admission import AdmissionMiddleware
from service.middleware.head import HeadMiddleware
from service.middleware.observation import ObserveMiddleware, ProblemMiddleware
from service.openapi.document import DESCRIPTION, OPENAPI_PATH, describe
from service.record import is_request_id
from service.routes import decode, demo, encode, health, info, page, reconstruct
from service.settings import Settings
from service.telemetry.tracing import trace_requests

ROUTERS = (
    encode.router,
    decode.router,
    reconstruct.router,
    info.router,
    health.router,
    demo.router,
    page.router,
)


def create_app(
    settings: Settings | None = None,
    *,
    tokenizers: Sequence[VideoTokenizer] = (),
    in_background: bool = False,
) -> FastAPI:
    """Return the service as an ASGI application. Its lifespan loads, warms up and, at the end, stops.

    Args:
        settings: from the environment if None.
        tokenizers: already loaded, one a device, in place of `settings.model`.
        in_background: whether its lifespan starts at once and loads while `/livez` is answered already;
            for a server that watches over its lifecycle, as `service.server.run` does.

    Raises:
        ConfigError: a setting names a file that does not serve.
    """
    settings = settings or Settings()
    app_state = AppState(settings, tokenizers=tokenizers, in_background=in_background)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with app_state:
            yield
        if flush_spans is not None:
            await asyncio.to_thread(flush_spans)

    app = FastAPI(
        title="phenaki-cvivit",
        summary="Videos to tokens and back.",
        description=DESCRIPTION,
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, app_state),
        openapi_url=OPENAPI_PATH,
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
        redirect_slashes=False,  # a redirect would name whatever host the client said
    )
    app.state.app_state = app_state
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    unlocked = None if settings.api_keys_file is None else open_paths(metrics_open=settings.metrics_open)
    describe(app, open_paths=unlocked, tokenizer=lambda: app_state.tokenizer)
    flush_spans = trace_requests(app, settings.otel_endpoint) if settings.otel_endpoint else None
    return app


def _middleware(settings: Settings, app_state: AppState) -> list[Middleware]:
    """Return the middleware, outermost first."""
    routes = {route.path for router in ROUTERS for route in router.routes if isinstance(route, Route)}
    listed = [
        Middleware(CorrelationIdMiddleware, header_name="X-Request-ID", validator=is_request_id),
        Middleware(ObserveMiddleware, metrics=app_state.metrics, routes=routes | {OPENAPI_PATH}),
        Middleware(SecurityHeadersMiddleware),
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
    if settings.api_keys_file is not None:
        keys = Keys.from_file(settings.api_keys_file)
        listed.append(Middleware(AccessMiddleware, keys=keys, metrics_open=settings.metrics_open))
    listed.append(Middleware(AdmissionMiddleware, lifecycle=app_state.lifecycle))
    listed.append(Middleware(HeadMiddleware))
    return listed
