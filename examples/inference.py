# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a video to tokens and back
#
# A video tokenizer turns 11 frames of 128 by 128 pixels into 1,536 integers, and paints the frames again
# from these integers alone. This notebook loads one, encodes a video, looks at the tokens, decodes them,
# compares, and edits. It takes less than a minute on a CPU, and downloads nothing: the demonstration
# weights come with the package.
#
# It needs the package (`pip install -e .` in a checkout) and nothing else.

# %%
from pathlib import Path

import numpy as np
from PIL import Image

from cvivit import TokenGrid, VideoTokenizer
from cvivit.metrics import entropy_bits, perplexity, psnr_pooled
from cvivit.video import ClipFormat, read_frames, write_video
from cvivit.visualizing.colours import code_colours

PLACES = (Path("tests/data/city.mp4"), Path("../tests/data/city.mp4"))
VIDEO = next(path for path in PLACES if path.exists())

# %% [markdown]
# ## Load
#
# `"demo"` is the small model that comes with the package. `"obvious-research/phenaki-cvivit"` is the
# released one, which is downloaded once (318 MB).

# %%
tokenizer = VideoTokenizer.from_pretrained("demo")
config = tokenizer.config
print(f"clips of {config.clip_shape} (frames, height, width, channels) at {config.fps:g} a second")
print(f"become {config.grid} (T, H, W) tokens out of {config.codebook_size:,} codes")

# %% [markdown]
# ## Encode
#
# Frames are picked at 8 a second, cropped to the middle square and resized. `cvivit info VIDEO` says
# exactly which ones. A longer video becomes several clips, and the last clip is filled up by repeating its
# last frame.

# %%
grid = tokenizer.encode(VIDEO)
print(f"{grid.frames} frames at {grid.fps:g} a second are {grid.indices.shape} (clips, T, H, W) tokens")

# %% [markdown]
# ## Look at the tokens
#
# Each token stands for a patch of 8 by 8 pixels. The first latent frame of a clip stands for one frame, and
# each of the others for two. Below is a map of the first clip, in which equal codes have equal colours.


# %%
def side_by_side(pictures: np.ndarray, scale: int) -> Image.Image:
    """Show pictures (n h w 3) in a row, enlarged."""
    row = np.concatenate(list(pictures), axis=1)
    size = row.shape[1] * scale, row.shape[0] * scale
    return Image.fromarray(row).resize(size, Image.Resampling.NEAREST)


side_by_side(code_colours(grid.indices[0]), scale=8)

# %%
codes, counts = np.unique(grid.indices, return_counts=True)
pixels = grid.frames * np.prod(config.clip_shape[1:])
size = grid.indices.size * np.log2(config.codebook_size) / 8
print(f"{len(codes):,} different codes in {grid.indices.size:,} tokens, perplexity {perplexity(counts):.0f}")
print(f"{size:,.0f} bytes of tokens for {pixels:,} bytes of pixels: {pixels / size:.0f} to 1")
print(f"{entropy_bits(counts):.1f} bits a token would do, if only this video's frequencies mattered")

# %% [markdown]
# ## Decode and compare

# %%
originals = np.stack(list(read_frames(VIDEO, ClipFormat.of(config))))
frames = tokenizer.decode(grid)
assert frames.shape == originals.shape
print(f"PSNR {psnr_pooled(originals[None], frames[None]):.2f} dB")
side_by_side(np.concatenate([originals[10:11], frames[10:11]]), scale=2)

# %% [markdown]
# ## Edit
#
# Tokens are plain integers, so an edit is an assignment. Here the left half of the first clip keeps the
# codes of its second latent frame in all later ones: the left half of the video stands almost still, and
# the right half goes on.

# %%
indices = grid.indices.copy()
indices[0, 1:, :, :8] = indices[0, 1, :, :8]
edited = tokenizer.decode(TokenGrid(indices=indices, frames=grid.frames, fps=grid.fps, model=grid.model))


def motion(video: np.ndarray) -> float:
    """Return the mean change from frame to frame, in grey levels."""
    return float(np.abs(np.diff(video[1:11].astype(int), axis=0)).mean())


print(f"left half: {motion(frames[:, :, :64]):.2f} before, {motion(edited[:, :, :64]):.2f} after")
print(f"right half: {motion(frames[:, :, 64:]):.2f} before, {motion(edited[:, :, 64:]):.2f} after")
side_by_side(edited[[1, 5, 10]], scale=2)

# %% [markdown]
# ## Keep
#
# A token file is a safetensors file with the number of frames, the rate and the fingerprint of the weights.
# Other weights refuse to decode it, because their codes mean something else.

# %%
folder = Path("out")
folder.mkdir(exist_ok=True)
grid.save(folder / "city.safetensors")
write_video(edited, folder / "edited.mp4", fps=grid.fps)
assert TokenGrid.load(folder / "city.safetensors") == grid
print(f"{(folder / 'city.safetensors').stat().st_size:,} bytes")
