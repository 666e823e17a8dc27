"""The tokenizer: videos to token grids and back, in one object."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from cvivit.config import CViViTConfig
from cvivit.network import CViViT
from cvivit.runtime.arrays import Clips
from cvivit.runtime.precision import Precision, PrecisionChoice
from cvivit.runtime.runner import Runner, make_runner
from cvivit.tokens.grid import TokenGrid
from cvivit.video import ClipFormat, Fit, ReadClips, VideoLimits, VideoSource, read_clips
from cvivit.weights import LoadedWeights, fingerprint, load_weights

CLIPS_AT_ONCE = 32
"""Clips read before they are computed: what bounds the memory of a long video's frames."""


class VideoTokenizer:
    """Videos to tokens and back with one set of weights on one device.

    It can be pickled and copied: the weights go along, and the other one is on a device of the same name.

    Args:
        weights: what `cvivit.weights.load_weights` returns; `from_pretrained` calls it for you.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "exact" is float32 without TF32, and a clip's tokens do not depend on what shares its
            batch; "fast" is bfloat16 outside the quantizer's lookup; "auto" is fast where the hardware has
            bfloat16.
    """

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        device: str | torch.device = "auto",
        precision: PrecisionChoice = "auto",
    ) -> None:
        self.config: CViViTConfig = weights.config
        self.fingerprint: str = weights.fingerprint
        """sha256 of the weights: what `TokenGrid.model` holds."""
        self.name: str = weights.name
        self.model = CViViT(weights.config).eval().requires_grad_(False)
        self.model.load_state_dict(weights.state_dict)
        self.runner: Runner = make_runner(self.model, device=device, precision=precision)

    @classmethod
    def from_pretrained(
        cls,
        source: str | PathLike[str] = "demo",
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        precision: PrecisionChoice = "auto",
    ) -> Self:
        """Load weights and return their tokenizer.

        Args:
            source: "demo" (ships with this package), a Hub repository such as
                "obvious-research/phenaki-cvivit", a directory, or a .safetensors or .bin file.
            revision: branch, tag or commit of a Hub repository.
            device: as the class.
            precision: as the class.

        Raises:
            WeightsError: the weights are missing, truncated, unsafe or of another shape.
            ValueError: there is no such device or precision.
            DeviceError: the weights do not fit on the device, or it failed.
        """
        return cls(load_weights(source, revision=revision), device=device, precision=precision)

    def __reduce__(self) -> tuple[Any, ...]:
        # The runner's weights are laid out for one process and cannot leave it: they are laid out anew.
        state = self.model.state_dict()
        weights = LoadedWeights(
            config=self.config, state_dict=state, fingerprint=fingerprint(state), name=self.name
        )
        return _restore, (type(self), weights, str(self.device), self.precision)

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self.runner.device

    @property
    def precision(self) -> Precision:
        """The precision in force: "exact" or "fast"."""
        return self.runner.precision

    def encode(
        self,
        source: VideoSource,
        *,
        fit: Fit = "crop",
        start: float = 0.0,
        seconds: float | None = None,
        limits: VideoLimits | None = None,
        read: ReadClips = read_clips,
    ) -> TokenGrid:
        """Return the tokens of a video.

        Args:
            source: a path, the file's bytes, or a binary file object.
            fit: how frames come to the model's square: "crop" the middle, "pad" with black, or "stretch".
            start: seconds after the first frame appeared, where reading begins.
            seconds: how much is read from there on, at most; by default everything.
            limits: what to refuse; by default nothing is too large.
            read: opens the video; by default this process does. One that decodes elsewhere, such as
                `service.decoding.blocking.IsolatedReader.read_clips`, is for videos of strangers.

        Raises:
            VideoError: the file cannot be read, passes a limit, or ends before `start`.
            ConfigError: (a ValueError) `start` or `seconds` is out of range.
            OSError: the path cannot be opened.
        """
        clip_format = ClipFormat.of(self.config, fit=fit)
        with read(
            source, clip_format, limits=limits or VideoLimits(), start=start, seconds=seconds
        ) as reader:
            parts = [self.encode_clips(batch) for batch in _batches(reader, CLIPS_AT_ONCE)]
            frames = reader.frames
        return TokenGrid(
            indices=np.concatenate(parts), frames=frames, fps=self.config.fps, model=self.fingerprint
        )

    def decode(self, grid: TokenGrid) -> np.ndarray:
        """Return the frames of a token grid, uint8 `t h w c`; frames that were padding are dropped.

        Raises:
            TokensError: the grid is not one of this model.
        """
        grid.check(self.config, model=self.fingerprint)
        return self.decode_clips(grid.indices).reshape(-1, *self.config.clip_shape[1:])[: grid.frames]

    def decode_stream(self, grid: TokenGrid) -> Iterator[np.ndarray]:
        """Yield the frames of `decode` one by one, uint8 `h w c`: memory does not grow with the video.

        Raises:
            TokensError: the grid is not one of this model.
        """
        grid.check(self.config, model=self.fingerprint)
        left = grid.frames
        for start in range(0, len(grid.indices), CLIPS_AT_ONCE):
            clips = self.decode_clips(grid.indices[start : start + CLIPS_AT_ONCE])
            frames = clips.reshape(-1, *clips.shape[2:])[:left]
            left -= len(frames)
            yield from frames

    def encode_clips(self, clips: Clips) -> Clips:
        """Return the tokens `n T H W` of uint8 clips `n f h w c`; see `Runner.encode_clips`."""
        return self.runner.encode_clips(clips)

    def decode_clips(self, indices: Clips) -> Clips:
        """Return the uint8 clips `n f h w c` of tokens `n T H W`; see `Runner.decode_clips`."""
        return self.runner.decode_clips(indices)

    def save_pretrained(self, directory: str | PathLike[str]) -> None:
        """Write config.json and model.safetensors, which `from_pretrained` reads."""
        from cvivit.weights import save_pretrained

        save_pretrained(self.model, Path(directory))


def _restore(
    kind: type[VideoTokenizer], weights: LoadedWeights, device: str, precision: Precision
) -> VideoTokenizer:
    """Make a tokenizer that was pickled or copied."""
    return kind(weights, device=device, precision=precision)


def _batches(clips: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Stack clips `f h w c`, up to `size` at a time."""
    waiting: list[np.ndarray] = []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting.clear()
    if waiting:
        yield np.stack(waiting)
