"""The tokenizer: one object that turns videos into token grids and back."""

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
from cvivit.runtime.base import KernelsChoice
from cvivit.runtime.precision import Precision, PrecisionChoice
from cvivit.runtime.runner import Runner, make_runner
from cvivit.tokens.grid import TokenGrid
from cvivit.video import ClipFormat, Fit, ReadClips, VideoLimits, VideoSource, read_clips
from cvivit.weights import LoadedWeights, fingerprint, load_weights

CLIPS_AT_ONCE = 32
"""How many clips are read before they are computed. This bounds the memory that a long video takes."""


class VideoTokenizer:
    """Turns videos into tokens and back, with one set of weights on one device.

    It can be pickled and copied with its weights. The copy is placed on a device of the same name.

    Args:
        weights: the result of `cvivit.weights.load_weights`, which `from_pretrained` calls for you.
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "exact" is float32 without TF32, and a clip's tokens do not depend on the other clips of
            its batch. "fast" is bfloat16 outside the quantizer's lookup. "auto" is fast where the hardware
            has bfloat16, and else exact.
        kernels: "auto" lets Triton kernels compute on a CUDA device where they agree with the plain modules,
            and "plain" does not. A CPU has no such choice.
    """

    def __init__(
        self,
        weights: LoadedWeights,
        *,
        device: str | torch.device = "auto",
        precision: PrecisionChoice = "auto",
        kernels: KernelsChoice = "auto",
    ) -> None:
        self.config: CViViTConfig = weights.config
        self.fingerprint: str = weights.fingerprint
        """The sha256 of the weights, which `TokenGrid.model` holds."""
        self.tokens_of: tuple[str, ...] = weights.tokens_of
        """Fingerprints of other weights whose tokens this model decodes too. Their exporter states that they
        have the same encoder and codebook, to the bit."""
        self.name: str = weights.name
        self.model = CViViT(weights.config, inference=True).eval().requires_grad_(False)
        self.model.load_state_dict(weights.state_dict)
        self._kernels: KernelsChoice = kernels
        self.runner: Runner = make_runner(self.model, device=device, precision=precision, kernels=kernels)

    @classmethod
    def from_pretrained(
        cls,
        source: str | PathLike[str] = "demo",
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        precision: PrecisionChoice = "auto",
        kernels: KernelsChoice = "auto",
    ) -> Self:
        """Load weights and return their tokenizer.

        Args:
            source: "demo" (ships with this package), a Hub repository such as
                "obvious-research/phenaki-cvivit", a directory, or a .safetensors or .bin file.
            revision: the branch, tag or commit of a Hub repository.
            device: as for the class.
            precision: as for the class.
            kernels: as for the class.

        Raises:
            WeightsError: the weights are missing, truncated, unsafe, or have another shape.
            ConfigError: the configuration beside the weights describes no network.
            ValueError: there is no such device or precision.
            DeviceError: the weights do not fit on the device, or it failed.
        """
        weights = load_weights(source, revision=revision)
        return cls(weights, device=device, precision=precision, kernels=kernels)

    def __reduce__(self) -> tuple[Any, ...]:
        # The runner's packed weights belong to this process. So the plain weights are pickled, and the copy
        # packs them anew.
        state = self.model.state_dict()
        weights = LoadedWeights(
            config=self.config,
            state_dict=state,
            fingerprint=fingerprint(state),
            name=self.name,
            tokens_of=self.tokens_of,
        )
        return _restore, (type(self), weights, str(self.device), self.precision, self._kernels)

    @property
    def device(self) -> torch.device:
        """The device that computes."""
        return self.runner.device

    @property
    def precision(self) -> Precision:
        """The precision that is used: "exact" or "fast"."""
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
            fit: how frames become square: "crop" to the middle, "pad" with black, or "stretch".
            start: where reading begins, in seconds after the first frame.
            seconds: how much is read from there, at most. By default it is everything.
            limits: the limits of what is read. By default no video is too large.
            read: the function that opens the video. By default this process decodes it. For untrusted videos,
                pass a function that decodes in another process, such as
                `service.decoding.blocking.IsolatedReader.read_clips`.

        Raises:
            VideoError: the file cannot be read, exceeds a limit, or ends before `start`.
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
        """Return the frames of a token grid, uint8 `t h w c`, without the frames that padded the last clip.

        Raises:
            TokensError: the grid does not fit this model.
        """
        grid.check(self.config, model=self.fingerprint, tokens_of=self.tokens_of)
        return self.decode_clips(grid.indices).reshape(-1, *self.config.clip_shape[1:])[: grid.frames]

    def decode_stream(self, grid: TokenGrid) -> Iterator[np.ndarray]:
        """Yield the frames of `decode` one by one, uint8 `h w c`, in memory bounded for any length.

        Raises:
            TokensError: the grid does not fit this model.
        """
        grid.check(self.config, model=self.fingerprint, tokens_of=self.tokens_of)
        left = grid.frames
        for start in range(0, len(grid.indices), CLIPS_AT_ONCE):
            clips = self.decode_clips(grid.indices[start : start + CLIPS_AT_ONCE])
            frames = clips.reshape(-1, *clips.shape[2:])[:left]
            left -= len(frames)
            yield from frames

    def encode_clips(self, clips: Clips) -> Clips:
        """Return the tokens `n T H W` of uint8 clips `n f h w c`, as `Runner.encode_clips` describes."""
        return self.runner.encode_clips(clips)

    def decode_clips(self, indices: Clips) -> Clips:
        """Return the uint8 clips `n f h w c` of tokens `n T H W`, as `Runner.decode_clips` describes."""
        return self.runner.decode_clips(indices)

    def save_pretrained(self, directory: str | PathLike[str]) -> None:
        """Write config.json and model.safetensors, which `from_pretrained` reads.

        Raises:
            OSError: a file cannot be written. What was there before is unchanged.
        """
        from cvivit.weights import save_pretrained

        save_pretrained(self.model, Path(directory), tokens_of=self.tokens_of)


def _restore(
    kind: type[VideoTokenizer],
    weights: LoadedWeights,
    device: str,
    precision: Precision,
    kernels: KernelsChoice,
) -> VideoTokenizer:
    """Make the tokenizer of a pickle or a copy."""
    return kind(weights, device=device, precision=precision, kernels=kernels)


def _batches(clips: Iterator[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """Yield stacks `n f h w c` of up to `size` clips `f h w c`."""
    waiting: list[np.ndarray] = []
    for clip in clips:
        waiting.append(clip)
        if len(waiting) == size:
            yield np.stack(waiting)
            waiting.clear()
    if waiting:
        yield np.stack(waiting)
