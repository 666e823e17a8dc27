"""The model card of an export: what the weights are, in words and YAML, for their page on the Hub."""

from __future__ import annotations

import re
from textwrap import dedent

from cvivit.config import CViViTConfig

LIBRARY = "library_name: phenaki-cvivit"
"""Line of the front matter that every card of ours has."""
TAGS = ("video", "video-tokenizer", "vector-quantization", "c-vivit", "phenaki")

_TABLE = re.compile(r"^\| \| \|\r?\n(?:\|.*\n)*?\| fingerprint \|.*(?:\n|\Z)", re.MULTILINE)


def model_card(config: CViViTConfig, fingerprint: str, repository: str, *, license: str | None = None) -> str:  # noqa: A002
    """Return the text of a README.md with the Hub's front matter.

    Args:
        config: sizes and variants, from which the table is made.
        fingerprint: what tokens of these weights carry.
        repository: `owner/name`, for the example.
        license: identifier of the licence of the weights; left out where it is not known.
    """
    front = ["---", LIBRARY, *([f"license: {license}"] if license else []), "tags:"]
    front += [f"- {tag}" for tag in TAGS] + ["---"]
    name = repository.rsplit("/", 1)[-1]
    height, width = config.image_size
    head = dedent(f"""
        # {name}

        A C-ViViT, the video tokenizer of [Phenaki](https://arxiv.org/abs/2210.02399):
        {config.clip_frames} frames of {width}x{height} pixels at {config.fps:g} frames a second become
        {config.tokens_per_clip} integers, and back.

        """)
    body = dedent(f"""
        ```python
        from cvivit import VideoTokenizer

        tokenizer = VideoTokenizer.from_pretrained("{repository}")
        grid = tokenizer.encode("clip.mp4")
        frames = tokenizer.decode(grid)
        ```

        Tokens carry the fingerprint, so that nobody decodes them with other weights.
        """)
    if config.patch_norm == "layernorm":
        body += dedent("""
            ## Limits

            A LayerNorm on the raw pixels of each patch removes its mean and its scale: these tokens hold
            neither brightness nor contrast, and every flat grey video encodes alike.
            """)
    return "\n".join(front) + "\n" + head + _table(config, fingerprint) + body


def renewed(card: str, config: CViViTConfig, fingerprint: str) -> str:
    """Return a card with the table of other weights and all words of its own. One without a table stays."""
    table = _table(config, fingerprint)
    return _TABLE.sub(lambda _: table, card, count=1)


def _table(config: CViViTConfig, fingerprint: str) -> str:
    height, width = config.image_size
    latent, rows, columns = config.grid
    return dedent(f"""\
        | | |
        |---|---|
        | clip | {config.clip_frames} frames, {height}x{width}, {config.fps:g} fps |
        | tokens of a clip | {latent} x {rows} x {columns} (T, H, W) |
        | codebook | {config.codebook_size} codes, {config.quantizer} |
        | width, heads | {config.dim}, {config.heads} of {config.dim_head} |
        | layers on each side | {config.spatial_depth} spatial, {config.temporal_depth} temporal |
        | temporal attention | {"causal" if config.causal else "bidirectional"} |
        | fingerprint | `{fingerprint}` |
        """)
