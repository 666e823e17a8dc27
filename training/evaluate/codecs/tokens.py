"""A C-ViViT tokenizer as a codec: its bits are those of its tokens."""

from __future__ import annotations

import numpy as np

from cvivit.config import CViViTConfig
from cvivit.tokenizer import VideoTokenizer
from training.evaluate.codecs.protocol import Coded


def clip_bits(config: CViViTConfig) -> float:
    """Return the bits of a clip's tokens, if each token takes log2(codes of the codebook) bits."""
    return config.tokens_per_clip * float(np.log2(config.codebook_size))


class TokenizerCodec:
    """A tokenizer on a device, in a precision. Every clip takes the same plain bits."""

    setting = ""

    def __init__(self, tokenizer: VideoTokenizer, name: str) -> None:
        self._tokenizer = tokenizer
        self.name = name

    def encode(self, clips: np.ndarray) -> Coded:
        """Return the tokens of uint8 clips (n t h w c)."""
        indices = self._tokenizer.encode_clips(clips)
        config = self._tokenizer.config
        return Coded(bits=[clip_bits(config)] * len(clips), data=indices, codes=config.codebook_size)

    def decode(self, coded: Coded) -> np.ndarray:
        """Return uint8 clips (n t h w c)."""
        clips: np.ndarray = self._tokenizer.decode_clips(coded.data)
        return clips
