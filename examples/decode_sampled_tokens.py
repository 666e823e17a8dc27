"""Decode tokens that a generator sampled.

Usage: python examples/decode_sampled_tokens.py OUTPUT.mp4

A generator is trained on tokens, and samples new ones as an array of integers (T, H, W). Decoding needs no
more than that. The stand-in for a generator below only knows which codes a video has in each row of the grid,
so its samples have the colours of the video and no sense. Put your own in the place of `sample`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from cvivit import TokenGrid, VideoTokenizer
from cvivit.video import write_video

VIDEO = Path(__file__).parents[1] / "tests" / "data" / "city.mp4"


def sample(examples: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return tokens (T, H, W): at each place one of those that the examples (n, T, H, W) have in its row."""
    _, latents, rows, columns = examples.shape
    by_row = examples.transpose(2, 0, 1, 3).reshape(rows, -1)
    drawn = random.integers(0, by_row.shape[1], (latents, rows, columns))
    return by_row[np.arange(rows)[None, :, None], drawn]


def main(output: Path) -> None:
    """Sample two clips, decode them, and write them as one video."""
    tokenizer = VideoTokenizer.from_pretrained("demo")
    random = np.random.default_rng(0)
    examples = tokenizer.encode(VIDEO).indices
    sampled = np.stack([sample(examples, random) for _ in range(2)])

    # Decoding checks shape and range, and names a token that is wrong. Give tokens the fingerprint of the
    # weights whose tokens the generator has learned: then other weights refuse them.
    grid = TokenGrid(
        indices=sampled,
        frames=len(sampled) * tokenizer.config.clip_frames,
        fps=tokenizer.config.fps,
        model=tokenizer.fingerprint,
    )
    write_video(tokenizer.decode_stream(grid), output, fps=grid.fps)
    print(f"wrote {output}: {grid.frames} frames")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit((__doc__ or "").split("\n")[2])
    main(Path(sys.argv[1]))
