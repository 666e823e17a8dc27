"""Gauges whose values are read when `/metrics` is requested."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from service.telemetry.engine_metrics import LiveState


def test_what_computes_on_each_device() -> None:
    registry = CollectorRegistry()
    registry.register(
        LiveState(
            engine=lambda: None,
            pool=lambda: None,
            device_memory=tuple,
            kernels=lambda: [("cuda:0", "triton"), ("cuda:1", "plain")],
        )
    )
    name = "cvivit_device_kernels"
    assert registry.get_sample_value(name, {"device": "cuda:0", "kernels": "triton"}) == 1
    assert registry.get_sample_value(name, {"device": "cuda:1", "kernels": "plain"}) == 1
    assert registry.get_sample_value(name, {"device": "cuda:0", "kernels": "plain"}) is None
