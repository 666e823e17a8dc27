"""Measure the work of requests without HTTP: in the engine called directly, and stage by stage."""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from cvivit.tokenizer import VideoTokenizer
from cvivit.tokens.grid import TokenGrid
from cvivit.video import ClipFormat, read_clips, write_video
from service.bench.load import AnswerSample, closed_loop
from service.engine import Engine

OperationName = Literal["encode", "decode"]


async def engine_clips_per_second(
    tokenizer: VideoTokenizer, operation: OperationName, clip: np.ndarray, *, clients: int, seconds: float
) -> float:
    """Return the clips per second of an engine whose clients each submit one clip at a time from memory."""
    engine = Engine([tokenizer.runner])
    engine.start()
    await engine.wait_ready()

    async def request() -> AnswerSample:
        await engine.run(operation, clip[None])
        return AnswerSample(status=200, seconds=0.0, bytes_out=0, stages={})

    try:
        return len(await closed_loop(request, clients=clients, seconds=seconds)) / seconds
    finally:
        await engine.stop()


def stage_seconds(
    tokenizer: VideoTokenizer, operation: OperationName, body: bytes, *, repeats: int = 9
) -> dict[str, float]:
    """Return how many seconds reading, the model and writing take for one request's body, each on its own."""
    if operation == "encode":
        pixels = ClipFormat.of(tokenizer.config)
        clips = np.stack(list(read_clips(body, pixels)))
        tokens = tokenizer.encode_clips(clips)
        steps: dict[str, Callable[[], Any]] = {
            "reading": lambda: list(read_clips(body, pixels)),
            "model": lambda: tokenizer.encode_clips(clips),
            "writing": lambda: grid_of(tokenizer, tokens).to_json(),
        }
    else:
        text = body.decode()
        tokens = TokenGrid.from_json(text).indices
        frames = np.concatenate(tokenizer.decode_clips(tokens))
        steps = {
            "reading": lambda: TokenGrid.from_json(text),
            "model": lambda: tokenizer.decode_clips(tokens),
            "writing": lambda: write_video(frames, io.BytesIO(), fps=tokenizer.config.fps),
        }
    return {name: _median_seconds(step, repeats) for name, step in steps.items()}


def grid_of(tokenizer: VideoTokenizer, indices: np.ndarray) -> TokenGrid:
    """Return tokens (n T H W) of whole clips as a client would send them."""
    return TokenGrid(
        indices=indices,
        frames=len(indices) * tokenizer.config.clip_frames,
        fps=tokenizer.config.fps,
        model=tokenizer.fingerprint,
    )


def _median_seconds(step: Callable[[], Any], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
