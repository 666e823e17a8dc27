"""The failures that a route lists in the OpenAPI document, derived from the error classes."""

from __future__ import annotations

from typing import Any

from cvivit import errors as codec
from cvivit.errors import CViViTError
from service.errors import Routes, ServiceError
from service.problems import MEDIA_TYPE, meaning_of, status_of, subclasses_of, title_of

SCHEMA_NAME = "Problem"
"""Name of the schema that `service.openapi.document` adds to the document's components."""

CODEC_BRANCHES: dict[Routes, type[CViViTError]] = {
    Routes.WORK: codec.DeviceError,
    Routes.VIDEO: codec.VideoError,
    Routes.TOKENS: codec.TokensError,
}
"""The branch of the codec's errors that a group of routes may answer."""


def errors_on(routes: Routes) -> list[type[CViViTError]]:
    """Return the error classes that this group of routes may answer, besides those of `Routes.ALL`."""
    found = [kind for kind in subclasses_of(ServiceError) if getattr(kind, "routes", None) is routes]
    return found + (subclasses_of(CODEC_BRANCHES[routes]) if routes in CODEC_BRANCHES else [])


def problem_responses(*listed: Routes | type[CViViTError]) -> dict[int | str, dict[str, Any]]:
    """Return the `responses` of a route for its failures, by status.

    Args:
        listed: groups of routes that this one belongs to, and errors that it raises beyond theirs. The
            failures of `Routes.ALL` are always included.
    """
    kinds: dict[type[CViViTError], None] = {}  # a set that keeps its order
    for entry in (Routes.ALL, *listed):
        kinds |= dict.fromkeys(errors_on(entry) if isinstance(entry, Routes) else [entry])
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in kinds:
        status = status_of(kind)
        assert status is not None, f"{kind.__name__} has no status, so no route can answer it"
        response = by_status.setdefault(status, _empty_response())
        meaning = meaning_of(kind)
        response["description"] += f"{' ' if response['description'] else ''}`{kind.code}`: {meaning}"
        response["content"][MEDIA_TYPE]["examples"][kind.code] = {"value": _example(kind, meaning)}
    return by_status


def _empty_response() -> dict[str, Any]:
    schema = {"$ref": f"#/components/schemas/{SCHEMA_NAME}"}
    return {"description": "", "content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}}


def _example(kind: type[CViViTError], detail: str) -> dict[str, Any]:
    return {
        "type": f"/errors#{kind.code}",
        "title": title_of(kind),
        "status": status_of(kind),
        "detail": detail,
        "instance": "/encode",
        "code": kind.code,
        "limit": None,
        "actual": None,
        "request_id": "5f0c2c7e1d3a4b6f8a9b0c1d2e3f4a5b",
    }
