"""`--check` runs one clip through everything but the socket, to test a deployment before it takes traffic."""

from __future__ import annotations

import asyncio
import io
import time

import numpy as np

from cvivit.video import write_video
from service.app_state import AppState, load
from service.engine.pipeline import encode_video
from service.record import RequestRecord
from service.settings import Settings


def check(settings: Settings) -> str:
    """Load the model, warm up, read and encode one clip, and return a line that says what was done.

    Raises:
        CViViTError: something does not work; the error says what.
    """
    return asyncio.run(_check(settings))


async def _check(settings: Settings) -> str:
    began = time.perf_counter()
    async with AppState(settings, tokenizers=load(settings)) as app_state:
        config = app_state.tokenizer.config
        ramp = np.linspace(0, 255, config.clip_frames, dtype=np.uint8)
        frames = np.broadcast_to(ramp[:, None, None, None], config.clip_shape)
        file = io.BytesIO()
        write_video(frames, file, fps=config.fps, container="mp4")
        file.seek(0)
        record = RequestRecord(method="CHECK", route="check")
        clips = [clip async for clip in encode_video(app_state, record, app_state.read(file))]
    seconds = time.perf_counter() - began
    count, shape = sum(clip.frames for clip in clips), clips[0].indices.shape
    return f"ok: {count} frames to {len(clips)} clip of {shape} tokens, {seconds:.1f} s in all"
