"""One page of metrics for several replicas."""

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from service.ray.metrics import ReplicaMetrics


def metrics_of(count: int) -> list[Metric]:
    registry = CollectorRegistry()
    Counter("cvivit_requests", "Requests answered.", ["route"], registry=registry).labels("/encode").inc(
        count
    )
    Histogram("cvivit_seconds", "Time.", buckets=(1, 10), registry=registry).observe(count)
    return list(registry.collect())


def test_each_sample_names_its_replica_and_each_metric_comes_once() -> None:
    page = generate_latest(ReplicaMetrics([("a", metrics_of(3)), ("b", metrics_of(5))])).decode()
    assert page.count("# TYPE cvivit_requests_total counter") == 1
    families = {family.name: family for family in text_string_to_metric_families(page)}
    counted = [s for s in families["cvivit_requests"].samples if s.name == "cvivit_requests_total"]
    assert [(s.labels, s.value) for s in counted] == [
        ({"route": "/encode", "replica": "a"}, 3),
        ({"route": "/encode", "replica": "b"}, 5),
    ]
    sums = {
        s.labels["replica"]: s.value for s in families["cvivit_seconds"].samples if s.name.endswith("_sum")
    }
    assert sums == {"a": 3, "b": 5}


def test_no_replica_gives_an_empty_page() -> None:
    assert generate_latest(ReplicaMetrics([])) == b""
