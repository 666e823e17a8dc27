"""GET /livez, /readyz, /health and /metrics: for operators and their tools."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from service.app_state import app_state_of
from service.errors import DrainingError, NotReadyError
from service.lifecycle import Phase
from service.openapi.problem_responses import problem_responses

# Other routes refuse query parameters that they do not know. These ignore them: monitors add some of their
# own, such as a number against caches, and would take a refusal for a failing service.
router = APIRouter(tags=["operation"])

METRICS_TYPES = ("text/plain", "application/openmetrics-text")


@router.get("/livez", summary="Whether the process runs", responses=problem_responses())
async def livez() -> dict[str, str]:
    """Answer 200 as long as the process runs, however busy it is."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    summary="Whether the server takes work",
    responses=problem_responses(NotReadyError, DrainingError),
)
async def readyz(request: Request) -> dict[str, str]:
    """Answer 200 once the model is warm, and 503 while the server starts or stops, or has lost its engine."""
    lifecycle = app_state_of(request.app).lifecycle
    if lifecycle.phase is Phase.DRAINING:
        raise DrainingError("the server is stopping and takes no new work")
    if not lifecycle.ready:
        raise NotReadyError(
            "the server has lost its engine, or could not start it; its process must be replaced"
            if lifecycle.failed
            else "the server is still starting; try again in a few seconds"
        )
    return {"status": "ready"}


@router.get("/health", summary="As /readyz", responses=problem_responses(NotReadyError, DrainingError))
async def health(request: Request) -> dict[str, str]:
    """Answer as `/readyz` does: many load balancers and monitors ask for this path unless told otherwise."""
    return await readyz(request)


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"content": {name: {"schema": {"type": "string"}} for name in METRICS_TYPES}},
        **problem_responses(),
    },
)
async def metrics(request: Request) -> Response:
    """Return the metrics of this process, or on Ray Serve of every replica, as `Accept` asks for them."""
    accept = ",".join(request.headers.getlist("accept"))
    page, media_type = await app_state_of(request.app).metrics.page(accept)
    return Response(page, headers={"Content-Type": media_type, "Vary": "Accept"})
