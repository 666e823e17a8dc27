"""Real processes, and programs that stand between a client and the server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.service.server.processes import Running, starting


@pytest.fixture
def start(tiny_weights: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Start a server process and wait until it serves."""
    with ExitStack() as stack:

        def started(*arguments: str, **given: object) -> Running:
            log = tmp_path / f"log-{len(list(tmp_path.iterdir()))}"
            process = stack.enter_context(starting(tiny_weights, log, *arguments, **given))  # type: ignore[arg-type]
            return Running(process, log)

        yield started
