"""The OpenAPI document. FastAPI writes it from the routes, and this module completes it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import numpy as np
from fastapi import FastAPI
from pydantic import TypeAdapter

from cvivit.tokenizer import VideoTokenizer
from cvivit.tokens.grid import TokenGrid
from service.bodies.media_types import JSON
from service.errors import NotReadyError, UnauthorizedError
from service.openapi.problem_responses import SCHEMA_NAME
from service.problems import Problem

DESCRIPTION = """\
A video goes in and integers come out, or the other way round. The integers are the tokens of C-ViViT, the
video autoencoder of Phenaki.

Every answer carries `x-request-id` (yours, if you sent one) and `server-timing`. Every error is
`application/problem+json`; [the list of errors](errors) explains their codes.
"""

OPENAPI_PATH = "/openapi.json"


def describe(
    app: FastAPI, *, open_paths: Collection[str] | None, tokenizer: Callable[[], VideoTokenizer]
) -> None:
    """Add to the app's OpenAPI document what FastAPI does not know.

    Args:
        app: the application, with all its routes.
        open_paths: the paths that need no API key, or None where no path needs one.
        tokenizer: returns the model that is served, or raises NotReadyError. The examples are tokens for it.
    """
    written_by_fastapi = app.openapi

    def openapi() -> dict[str, Any]:
        document = written_by_fastapi()
        components = document.setdefault("components", {})
        components.setdefault("schemas", {})[SCHEMA_NAME] = TypeAdapter(Problem).json_schema()
        if open_paths is not None:
            scheme = {"type": "http", "scheme": "bearer", "description": "A key that the operator gave you."}
            components["securitySchemes"] = {"key": scheme}
            document["security"] = [{"key": []}]
        for path, operations in document["paths"].items():
            if open_paths is None or path in open_paths:
                for operation in operations.values():
                    operation["responses"].pop(str(UnauthorizedError.status), None)
                    if open_paths is not None:
                        operation["security"] = []
        with suppress(NotReadyError):
            _add_examples(document["paths"], tokenizer())
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _add_examples(paths: dict[str, Any], tokenizer: VideoTokenizer) -> None:
    """Give the token routes an example that the served model takes as it is: the tokens of one clip."""
    config = tokenizer.config
    indices = np.arange(math.prod(config.grid)).reshape(1, *config.grid) % config.codebook_size
    grid = TokenGrid(indices=indices, frames=config.clip_frames, fps=config.fps, model=tokenizer.fingerprint)
    encoded = json.loads(grid.to_json())
    sent = {"frames": grid.frames, "fps": grid.fps, "indices": encoded["indices"][0]}
    paths["/encode"]["post"]["responses"]["200"]["content"][JSON]["example"] = encoded
    paths["/decode"]["post"]["requestBody"]["content"][JSON]["example"] = sent
