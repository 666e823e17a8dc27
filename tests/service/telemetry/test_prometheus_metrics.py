"""The forms of `/metrics`, and the queue's depth as an autoscaler reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from service.engine import EngineSnapshot, Operation

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("*/*", TEXT),
        ("", TEXT),
        ("text/plain", TEXT),
        ("text/plain;version=0.0.4", TEXT),
        ("text/plain;version=1.0.0", "text/plain; version=1.0.0; charset=utf-8; escaping=underscores"),
        ("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0",
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
        ),
        (
            PROMETHEUS_3,
            "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8",
        ),
        ("text/html", TEXT),
        ("text/plain;version=latest", TEXT),
        ("text/plain;version=\xe9", TEXT),
    ],
)
def test_a_scraper_gets_the_form_that_it_asks_for(client: TestClient, accept: str, media_type: str) -> None:
    answer = client.get("/metrics", headers={b"accept": accept.encode("latin-1")})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == media_type
    read = read_openmetrics if "openmetrics" in media_type else read_text
    assert "cvivit_requests" in {family.name for family in read(answer.text)}


@pytest.mark.parametrize(
    ("queued", "rates", "seconds"),
    [
        ({}, {}, {"encode": 0.0, "decode": 0.0}),
        ({"encode": 6}, {"encode": 4.0, "decode": 2.0}, {"encode": 1.5, "decode": 0.0}),
        ({"encode": 6, "decode": 1}, {"decode": 2.0}, {"decode": 0.5}),
    ],
)
def test_the_depth_of_the_queue_in_seconds(
    queued: dict[str, int], rates: dict[str, float], seconds: dict[str, float]
) -> None:
    snapshot = EngineSnapshot(
        requests=1,
        clips=7,
        computing=0,
        queued={Operation(name): count for name, count in queued.items()},
        clips_per_second={Operation(name): rate for name, rate in rates.items()},
    )
    assert snapshot.queued_seconds == {Operation(name): value for name, value in seconds.items()}


def test_an_autoscaler_sees_the_queue_grow(
    serve_gated: Callable[..., Any],
    gate: Any,
    make: Callable[..., bytes],
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    server = serve_gated()
    registry = server.app_state.metrics.registry

    def gauges() -> dict[str, float]:
        """Return the gauges of `encode` from one collection, so that they belong to one moment."""
        return {
            sample.name: sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.labels == {"operation": "encode"}
        }

    gate.free = 1
    assert server.talk_through(make(5))[0] == 200  # now the rate is known
    sending = [threading.Thread(target=server.talk_through, args=(make(40),)) for _ in range(2)]
    for thread in sending:
        thread.start()
    eventually(lambda: gauges()["cvivit_queue_depth"] > 4)
    seen = gauges()
    expected = seen["cvivit_queue_depth"] / seen["cvivit_clips_per_second"]
    assert seen["cvivit_queue_depth_seconds"] == pytest.approx(expected)
    assert registry.get_sample_value("cvivit_queue_depth_seconds", {"operation": "decode"}) == 0
    gate.opened.set()
    for thread in sending:
        thread.join()
    assert gauges()["cvivit_queue_depth_seconds"] == 0
