"""The query parameters of the routes. A parameter that a route does not know is an error.

Without this check a misspelt `?fitt=pad` would crop the video and say nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Final, get_args, get_type_hints

from fastapi import Query, Request
from pydantic import BaseModel, Field

from cvivit.tokens.strict_json import shown
from cvivit.video import Fit
from service.errors import ParameterError

MAX_SECONDS: Final = 1e9
"""Largest time in a parameter, some 32 years. Times of any video can be computed exactly up to here."""


class QueryParameters(BaseModel):
    """Base of the query parameters that a route takes: `parameters: Annotated[Subclass, Query()]`."""


class VideoParameters(QueryParameters):
    """Which part of a video is read, and how its frames are fitted to the model's square."""

    fit: Fit = Field(
        "crop",
        description="`crop` the middle of a frame, `pad` it with black, or `stretch` it to the square.",
    )
    start: float = Field(
        0.0,
        ge=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="Seconds of the video to skip at its beginning.",
    )
    seconds: float | None = Field(
        None,
        gt=0,
        le=MAX_SECONDS,
        allow_inf_nan=False,
        description="Seconds to read from there. Unset reads to the end.",
    )


VideoQuery = Annotated[VideoParameters, Query()]


async def check_query_parameters(request: Request) -> None:
    """Refuse a query parameter that the request's route does not take, or that is there twice.

    Every route of the API has this as a dependency, except the probes /livez and /readyz.

    Raises:
        ParameterError: as said. It names the parameters that the route takes.
    """
    known = _parameters_of(request.scope["endpoint"])
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    seen = set()
    for name, _ in request.query_params.multi_items():
        if name not in known:
            raise ParameterError(f"this route has no query parameter {shown(name)}; {takes}")
        if name in seen:
            raise ParameterError(f"the query parameter {name} is there twice; send it once")
        seen.add(name)


@cache
def _parameters_of(endpoint: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the query parameters that the function of a route declares."""
    for hint in get_type_hints(endpoint, include_extras=True).values():
        for kind in get_args(hint):
            if isinstance(kind, type) and issubclass(kind, QueryParameters):
                return tuple(kind.model_fields)
    return ()
