"""The routes are tested in this process, and by the same tests on Ray Serve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from cvivit.tokenizer import VideoTokenizer
from service.app import create_app
from service.settings import Settings
from tests.service.ray.running import ray_service


@pytest.fixture(scope="module", params=["here", pytest.param("ray", marks=pytest.mark.slow)])
def client(
    request: pytest.FixtureRequest, tokenizer: VideoTokenizer, tiny_weights: Path
) -> Iterator[TestClient | httpx.Client]:
    """The app with its default settings, shared by the tests that do not change its state."""
    if request.param == "here":
        app = create_app(Settings(), tokenizers=[tokenizer])
        with TestClient(app, raise_server_exceptions=False) as client:
            yield client
    else:
        pytest.importorskip("ray", reason="Ray is not installed: it is an extra, [ray]")
        with (
            ray_service(tiny_weights, replicas=2) as service,
            httpx.Client(base_url=service.url, timeout=60, follow_redirects=True) as remote,
        ):
            yield remote
