"""Test that Prometheus and Grafana use metrics that the real service exposes, and all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from service.app import create_app
from service.settings import Settings

METRIC = re.compile(r"\b(?:cvivit|process)_\w+\b")
BY = re.compile(r"by \(([^)]*)\)")
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""

Shown = dict[str, set[str] | None]
"""Labels of a series by its name; None where nothing has been counted yet, so that they are not known."""


@pytest.fixture(scope="module")
def shown(tiny_weights: Path, root: Path) -> Shown:
    """What `/metrics` of the real app shows after an encoded clip, a decoded clip and a refused request."""
    with TestClient(create_app(Settings(model=str(tiny_weights), device="cpu"))) as client:
        encoded = client.post("/encode", content=(root / "tests/data/city.mp4").read_bytes())
        assert encoded.status_code == 200, encoded.text
        assert client.post("/decode", json={"indices": encoded.json()["indices"][:1]}).status_code == 200
        assert client.post("/encode", content=b"no video").status_code == 415
        page = client.get("/metrics").text
    found: Shown = {}
    for family in text_string_to_metric_families(page):
        for suffix in SUFFIXES.get(family.type, ()):
            name = family.name + suffix
            labels = [set(sample.labels) for sample in family.samples if sample.name == name]
            found[name] = set().union(*labels) if labels else None
    return found


def dashboard(root: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((root / "docker/grafana/dashboards/service.json").read_text())
    return loaded


def queries(root: Path) -> Iterator[tuple[str, str]]:
    """Every expression, and the legend that is made of its labels."""
    for panel in dashboard(root)["panels"]:
        for target in panel.get("targets", ()):
            yield target["expr"], target["legendFormat"]
    for group in yaml.safe_load((root / "docker/prometheus/alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["expr"], rule["annotations"]["summary"].replace("$labels.", "")


def test_every_metric_is_one_that_the_service_shows(shown: Shown, root: Path) -> None:
    used = {name for expression, _ in queries(root) for name in METRIC.findall(expression)}
    assert len(used) > 20
    assert used <= set(shown)


def test_every_label_is_one_of_its_metric(shown: Shown, root: Path) -> None:
    for expression, legend in queries(root):
        labels = [shown[name] for name in METRIC.findall(expression)]
        known = SCRAPED | {"le"}
        for found in labels:
            known |= found or set()
        grouped = {name.strip() for names in BY.findall(expression) for name in names.split(",")}
        named = {name.strip() for name in re.findall(r"{{\s*(\w+)\s*}}", legend)}
        if None not in labels:
            assert grouped | named <= known, expression


def test_every_metric_of_the_service_has_a_place(shown: Shown, root: Path) -> None:
    used = {name for expression, _ in queries(root) for name in METRIC.findall(expression)}
    for name in shown:
        if name.startswith("cvivit_") and not name.endswith(("_sum", "_count", "_created")):
            assert {name, f"{name.removesuffix('_bucket')}_count"} & used, name


def test_panels_are_laid_out_without_overlap(root: Path) -> None:
    taken: dict[tuple[int, int], str] = {}
    panels = dashboard(root)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_the_dashboard_and_what_provisions_it_agree(root: Path) -> None:
    grafana = root / "docker/grafana"
    (source,) = yaml.safe_load((grafana / "provisioning/datasources/prometheus.yaml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((grafana / "provisioning/dashboards/cvivit.yaml").read_text())["providers"]
    grafanas = yaml.safe_load((root / "docker/compose.yaml").read_text())["services"]["grafana"]
    assert f"./grafana/dashboards:{provider['options']['path']}:ro" in grafanas["volumes"]
    home = grafanas["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/service.json"
    uids = {target["datasource"]["uid"] for p in dashboard(root)["panels"] for target in p.get("targets", ())}
    assert uids == {source["uid"]}


def test_prometheus_scrapes_the_service_where_it_listens(root: Path) -> None:
    (job,) = yaml.safe_load((root / "docker/prometheus/prometheus.yaml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["service:8000"]}]
    assert 'job="cvivit"' in (root / "docker/prometheus/alerts.yaml").read_text()
    assert job["job_name"] == "cvivit"
