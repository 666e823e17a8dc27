import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from cvivit import VideoTokenizer
from cvivit.errors import ConfigError
from service.app import create_app
from service.settings import Settings

Opened = Callable[..., TestClient]


@pytest.fixture
def fresh(open_app: Opened) -> TestClient:
    """An app that has counted nothing yet."""
    return open_app()


def meters(client: TestClient) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def meter(client: TestClient, name: str, **labels: str) -> float:
    return meters(client)[name, frozenset(labels.items())]


def test_an_id_is_taken_over_and_one_is_made_where_there_is_none(client: TestClient) -> None:
    assert client.get("/livez", headers={"x-request-id": "mine.1"}).headers["x-request-id"] == "mine.1"
    first, second = (client.get("/livez").headers["x-request-id"] for _ in range(2))
    assert first != second


@pytest.mark.parametrize("sent", ["", "a b", "x" * 129, "<script>", "å"])
def test_an_id_that_could_do_harm_is_not_taken_over(client: TestClient, sent: str) -> None:
    given = client.get("/livez", headers={b"x-request-id": sent.encode()}).headers.get_list("x-request-id")
    assert len(given) == 1
    assert given[0] != sent


def test_stages_are_told(client: TestClient, video: bytes) -> None:
    timing = client.post("/encode", content=video).headers["server-timing"]
    stages = {entry.split(";")[0] for entry in timing.split(", ")}
    assert stages == {"upload", "read", "queue", "encode", "total"}
    timing = client.post("/reconstruct", content=video).headers["server-timing"]
    stages = {entry.split(";")[0] for entry in timing.split(", ")}
    assert stages == {"upload", "read", "queue", "encode", "decode", "write", "total"}


def test_requests_clips_and_stages_are_counted(fresh: TestClient, video: bytes) -> None:
    for _ in range(2):
        fresh.post("/encode", content=video)
    assert meter(fresh, "cvivit_requests_total", route="/encode", method="POST", status="200") == 2
    assert meter(fresh, "cvivit_clips_total", operation="encode") == 6
    assert meter(fresh, "cvivit_batch_clips_sum", operation="encode") == 6
    assert meter(fresh, "cvivit_queue_seconds_count", operation="encode") == 6
    assert meter(fresh, "cvivit_stage_seconds_count", route="/encode", stage="read") == 2
    assert meter(fresh, "cvivit_queue_depth", operation="encode") == 0
    assert meter(fresh, "cvivit_queue_depth_seconds", operation="encode") == 0
    assert meter(fresh, "cvivit_requests_in_flight") == 1  # the request for the metrics
    assert meter(fresh, "cvivit_ready") == 1
    assert meter(fresh, "cvivit_decoders", state="alive") == 1
    assert meter(fresh, "cvivit_videos_waiting") == 0


def test_the_body_that_head_leaves_out_is_not_counted(fresh: TestClient) -> None:
    with structlog.testing.capture_logs() as lines:
        assert int(fresh.head("/docs").headers["content-length"]) > 0
    assert [line["bytes_out"] for line in lines if line["event"] == "request"] == [0]
    assert meter(fresh, "cvivit_body_bytes_total", direction="out") == 0


def test_refusals_are_counted_by_code(fresh: TestClient) -> None:
    fresh.post("/encode", content=b"no video")
    assert meter(fresh, "cvivit_rejections_total", code="unsupported_media") == 1


def test_strangers_name_no_meter(fresh: TestClient) -> None:
    for path in ("/a", "/b", "/encode/x"):
        fresh.request("BREW", path)
    assert meter(fresh, "cvivit_requests_total", route="other", method="other", status="404") == 3


def test_two_apps_count_apart(open_app: Opened) -> None:
    first, second = open_app(), open_app()
    first.get("/info")
    assert meter(first, "cvivit_requests_total", route="/info", method="GET", status="200") == 1
    assert ("cvivit_request_seconds_count", frozenset({("route", "/info")})) not in meters(second)


def test_a_request_is_one_line_without_its_contents(client: TestClient, video: bytes) -> None:
    with structlog.testing.capture_logs() as lines:
        client.post("/encode", files={"file": ("secret-name.mp4", video)})
    (line,) = (line for line in lines if line["event"] == "request")
    assert (line["route"], line["status"], line["clips"]) == ("/encode", 200, 3)
    assert line["bytes_in"] > len(video)
    assert "secret-name" not in json.dumps(line)


def test_spans_are_sent_where_an_endpoint_is_configured(
    tokenizer: VideoTokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    sent: list[Any] = []

    def export(_: object, spans: Any) -> Any:
        sent.extend(span.name for span in spans)
        return exporter.SpanExportResult.SUCCESS

    monkeypatch.setattr(exporter.OTLPSpanExporter, "export", export)
    app = create_app(Settings(otel_endpoint="http://127.0.0.1:9/v1/traces"), tokenizers=[tokenizer])
    with TestClient(app) as client:
        client.get("/info")
        client.get("/livez")
        client.post("/encode", content=bytes(3 * 2**20))
    assert sent == ["GET /info", "POST /encode"]  # one for each request, however many pieces its body has


def test_an_endpoint_is_an_address(tokenizer: VideoTokenizer) -> None:
    with pytest.raises(ConfigError, match="otel_endpoint: 'collector:4318'"):
        create_app(Settings(otel_endpoint="collector:4318"), tokenizers=[tokenizer])
