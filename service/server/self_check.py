"""`--check`, for a deployment to run before it takes traffic: one clip through all but the socket."""

from __future__ import annotations

import asyncio
import io
import time

import numpy as np

from cvivit.video import write_video
from service.app_state import Runtime, load
from service.engine.pipeline import Encoding
from service.record import Record
from service.settings import Settings


def check(settings: Settings) -> str:
    """Load the model, warm up, read and encode one clip, and return a line that says what was done.

    Raises:
        CViViTError: something does not work; the error says what.
    """
    return asyncio.run(_check(settings))


async def _check(settings: Settings) -> str:
    began = time.perf_counter()
    async with Runtime(settings, tokenizers=load(settings)) as runtime:
        config = runtime.tokenizer.config
        ramp = np.linspace(0, 255, config.clip_frames, dtype=np.uint8)
        frames = np.broadcast_to(ramp[:, None, None, None], config.clip_shape)
        file = io.BytesIO()
        write_video(frames, file, fps=config.fps, container="mp4")
        file.seek(0)
        encoding = Encoding(runtime, Record(method="CHECK", route="check"), file)
        clips = [indices.shape async for indices in encoding.indices()]
    seconds = time.perf_counter() - began
    return f"ok: {encoding.frames} frames to {len(clips)} clip of {clips[0]} tokens, {seconds:.1f} s in all"
