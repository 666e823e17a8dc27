"""Benchmark: many clients that send one clip each, compared with the engine called directly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvivit.tokenizer import VideoTokenizer
from cvivit.video import ClipFormat, read_clips
from service.bench.direct import OperationName, engine_clips_per_second, grid_of, stage_seconds
from service.bench.inputs import VIDEO_SIZE, one_clip_seconds, video
from service.bench.load import RequestKind, closed_loop, connect, send, summary

ROUNDS = 3
"""Engine and service are measured alternately, so that a drift of the machine's speed affects both."""


async def throughput(
    url: str,
    tokenizer: VideoTokenizer,
    operations: Sequence[OperationName],
    *,
    clients: int,
    seconds: float,
    size: tuple[int, int] = VIDEO_SIZE,
) -> list[dict[str, Any]]:
    """Measure each operation.

    Args:
        url: the URL of a server that serves the model of `tokenizer` on the same device.
        tokenizer: for the engine called directly, in this process.
        operations: which ones to measure.
        clients: how many requests are in progress at once.
        seconds: how long to measure the engine, and then the service.
        size: height and width of the videos that are sent.

    Returns:
        For each operation, a dictionary ready for JSON: the `summary` of the loaded service;
        `engine_clips_per_second`, and the service's `share` of it; `unloaded_p50_seconds`, the latency of one
        client alone; `parts_seconds`, its stages measured without the service; and `overhead_seconds`, by how
        much the latency exceeds their sum.
    """
    return [await _measure(url, tokenizer, operation, clients, seconds, size) for operation in operations]


async def _measure(
    url: str,
    tokenizer: VideoTokenizer,
    operation: OperationName,
    clients: int,
    seconds: float,
    size: tuple[int, int],
) -> dict[str, Any]:
    kind, clip = one_clip_request(tokenizer, operation, size)
    parts = stage_seconds(tokenizer, operation, kind.body)
    async with connect(url) as client:
        alone = await closed_loop(lambda: send(client, kind), clients=1, seconds=seconds / ROUNDS)
        samples, engine_rates = [], []
        for _ in range(ROUNDS):
            engine_rates.append(
                await engine_clips_per_second(
                    tokenizer, operation, clip, clients=clients, seconds=seconds / ROUNDS
                )
            )
            samples += await closed_loop(
                lambda: send(client, kind), clients=clients, seconds=seconds / ROUNDS
            )
    loaded = summary(samples, kind, seconds)
    unloaded = summary(alone, kind, seconds / ROUNDS)
    engine_rate = sum(engine_rates) / ROUNDS
    return {
        "operation": operation,
        "clients": clients,
        **loaded,
        "engine_clips_per_second": engine_rate,
        "share": loaded["clips_per_second"] / engine_rate if engine_rate else None,
        "unloaded_p50_seconds": unloaded["p50_seconds"],
        "parts_seconds": parts,
        "overhead_seconds": unloaded["p50_seconds"] - sum(parts.values()) if unloaded["requests"] else None,
        "unloaded_stages_p50_seconds": unloaded["stages_p50_seconds"],
    }


def one_clip_request(
    tokenizer: VideoTokenizer, operation: OperationName, size: tuple[int, int] = VIDEO_SIZE
) -> tuple[RequestKind, np.ndarray]:
    """Return a request of one clip, and the array that the engine takes: the clip, or its tokens."""
    file = video(one_clip_seconds(tokenizer.config), size)
    clips = np.stack(list(read_clips(file, ClipFormat.of(tokenizer.config))))
    if operation == "encode":
        return RequestKind(path="/encode", body=file), clips[0]
    tokens = tokenizer.encode_clips(clips[:1])
    body = grid_of(tokenizer, tokens).to_json().encode()
    return RequestKind(path="/decode", body=body, headers={"content-type": "application/json"}), tokens[0]
