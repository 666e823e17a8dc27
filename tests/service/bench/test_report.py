"""The tables, including those of runs in which every request failed."""

from __future__ import annotations

from typing import Any

import pytest

from service.bench.report import mixed_table, soak_table, table, throughput_table

ROW: dict[str, Any] = {
    "operation": "encode",
    "clients": 32,
    "requests": 100,
    "refused": {"429": 2},
    "clips_per_second": 9.5,
    "engine_clips_per_second": 10.0,
    "share": 0.95,
    "p50_seconds": 3.2,
    "p99_seconds": 3.5,
    "bytes_in": 2048,
    "bytes_out": 9000,
    "stages_p50_seconds": {"upload": 0.001, "compute": 0.1},
    "unloaded_p50_seconds": 0.120,
    "parts_seconds": {"reading": 0.010, "model": 0.095, "writing": 0.005},
    "overhead_seconds": 0.010,
    "unloaded_stages_p50_seconds": {"upload": 0.001},
}


def test_throughput() -> None:
    lines = throughput_table([ROW]).splitlines()
    assert lines[1].split() == ["encode", "32", "9.50", "10.00", "95%", "3200.0", "3500.0", "2.0", "8.8", "2"]
    assert lines[2] == (
        "encode alone: p50 120.0 ms, 10.0 ms above its parts (reading 10.0, model 95.0, writing 5.0)"
    )
    assert lines[4] == "encode loaded, ms by stage: upload 1.0, compute 100.0"


@pytest.mark.parametrize(
    "missing",
    ["share", "p50_seconds", "p99_seconds", "bytes_out", "unloaded_p50_seconds", "overhead_seconds"],
)
def test_throughput_of_nothing(missing: str) -> None:
    assert throughput_table([ROW | {missing: None}])


def test_mixed() -> None:
    figures = {"requests": 10, "failed": 0, "p50_seconds": 0.1, "p99_seconds": 0.2}
    result = {
        "clients": 4,
        "alone": figures,
        "beside": figures | {"p99_seconds": 0.3},
        "p99_ratio": 1.5,
        "long_clips_per_second": 2.0,
    }
    assert mixed_table(result).splitlines()[-1] == (
        "4 clients: p99 beside a long video 1.50 times that alone; the long video ran at 2.00 clips/s"
    )
    assert " - times" in mixed_table(result | {"p99_ratio": None})


def test_soak() -> None:
    measurements = [{"requests": n, "server": 2**20 * (100 + n), "children": 2**20} for n in (5, 10)]
    text = soak_table(
        {"statuses": {"left": 1, "200": 9}, "measurements": measurements, "growth": {"server": 0.05}}
    )
    assert text.splitlines() == [
        "requests  server MiB  children MiB",
        "       5       105.0           1.0",
        "      10       110.0           1.0",
        "answers: 200: 9, left: 1",
        "growth of the resident size after a quarter of the requests: server +5.00%",
    ]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table(["a", "long"], [["wide cell", 1]]) == "        a  long\nwide cell     1"
