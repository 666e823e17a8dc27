"""GET /livez, /readyz and /metrics: for whoever runs the service."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from service.app_state import app_state_of
from service.bodies.query_parameters import check_query_parameters
from service.errors import DrainingError, NotReadyError
from service.lifecycle import Phase
from service.openapi.problem_responses import problem_responses
from service.telemetry.prometheus_metrics import CONTENT_TYPE

router = APIRouter(tags=["operation"], dependencies=[Depends(check_query_parameters)])


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
    lifecycle = app_state_of(request.app).lifecycle
    if lifecycle.phase is Phase.DRAINING:
        raise DrainingError("the server is stopping")
    if not lifecycle.ready:
        raise NotReadyError("the server has no engine" if lifecycle.failed else "the server is starting")
    return {"status": "ready"}


@router.get(
    "/metrics",
    summary="Meters in Prometheus' text format",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problem_responses()},
)
async def metrics(request: Request) -> Response:
    """Answer the meters of this process."""
    return Response(app_state_of(request.app).metrics.page(), media_type=CONTENT_TYPE)
