"""Cut the windows of a source into samples."""

from __future__ import annotations

from collections.abc import Iterator

from cvivit.inputs import Source
from cvivit.tokenizing.parts import Usable
from cvivit.tokenizing.settings import ModelFacts, TokenizeSettings
from cvivit.tokens.datasets.sample import TokenSample


def samples_of(
    source: Source, key: str, outcome: Usable, settings: TokenizeSettings, model: ModelFacts
) -> Iterator[TokenSample]:
    """Yield the samples of a source in the order of time: none if it is too short for one."""
    count = settings.windows or len(outcome.tokens)
    fps = model.config.fps
    for number, first in enumerate(range(0, len(outcome.tokens), count)):
        tokens = outcome.tokens[first : first + count]
        if settings.drop_last and len(tokens) < count:
            return
        first_frames = outcome.first_frames[first : first + count]
        end = min(first_frames[-1] + model.config.clip_frames, outcome.frames)
        yield TokenSample(
            key=f"{key}-{number:06d}" if settings.windows else key,
            tokens=tokens,
            source=source.location,
            model=model.fingerprint,
            fps=fps,
            frames=end - first_frames[0],
            first_frames=first_frames,
            times=tuple(frame / fps + settings.start for frame in first_frames),
            caption=outcome.caption,
            metadata=outcome.metadata,
        )
