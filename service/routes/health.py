"""GET /livez, /readyz, /health and /metrics: for whoever runs the service."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.app_state import runtime_of
from service.errors import DrainingError, NotReadyError
from service.lifecycle import Phase
from service.openapi import problem_responses
from service.telemetry.prometheus_metrics import CONTENT_TYPE

router = APIRouter(tags=["operation"])


@router.get("/livez", summary="Whether the process runs", responses=problem_responses())
async def livez() -> dict[str, str]:
    """Answer 200 as long as the process runs, however busy it is."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Whether work is taken",
    responses=problem_responses(NotReadyError, DrainingError),
)
async def readyz(request: Request) -> dict[str, str]:
    """Answer 200 once the model is warm; 503 while starting, stopping, or without an engine."""
    lifecycle = runtime_of(request.app).lifecycle
    if lifecycle.phase is Phase.DRAINING:
        raise DrainingError("the server is stopping")
    if not lifecycle.ready:
        raise NotReadyError("the server has no engine" if lifecycle.failed else "the server is starting")
    return {"status": "ready"}


@router.get("/health", summary="As /readyz", responses=problem_responses(NotReadyError, DrainingError))
async def health(request: Request) -> dict[str, str]:
    """Answer as `/readyz` does: many load balancers and monitors ask for this path unless told otherwise."""
    return await readyz(request)


@router.get(
    "/metrics",
    summary="Meters in Prometheus' text format",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problem_responses()},
)
async def metrics(request: Request) -> Response:
    """Answer the meters of this process."""
    return Response(runtime_of(request.app).metrics.page(), media_type=CONTENT_TYPE)
