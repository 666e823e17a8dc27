"""The model card of an export: a README.md that describes the weights on their page on the Hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import dedent

from cvivit.config import CViViTConfig

LIBRARY = "library_name: phenaki-cvivit"
"""The line of the front matter by which our own cards are recognised."""
TAGS = ("video", "video-tokenizer", "vector-quantization", "c-vivit", "phenaki")

_TABLE = re.compile(r"^\| \| \|\r?\n(?:\|.*\n)*?\| fingerprint \|.*(?:\n|\Z)", re.MULTILINE)


def model_card(
    config: CViViTConfig,
    fingerprint: str,
    repository: str,
    *,
    license: str | None = None,  # noqa: A002 - the Hub's own name for it
    tokens_of: Sequence[str] = (),
) -> str:
    """Return the text of a README.md with the front matter that the Hub reads.

    Args:
        config: the sizes and variants that the table shows.
        fingerprint: the fingerprint of the weights, which their tokens carry.
        repository: `owner/name`, which the example loads.
        license: the identifier of the weights' licence. None leaves the line out.
        tokens_of: fingerprints of other weights whose tokens these weights decode.
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

        Tokens carry the fingerprint of the weights, so that other weights refuse to decode them.
        """)
    if config.patch_norm == "layernorm":
        body += dedent("""
            ## Limits

            A LayerNorm on the raw pixels of each patch removes their mean and their scale. So the tokens hold
            neither brightness nor contrast, and every flat grey video has the same tokens.
            """)
    return "\n".join(front) + "\n" + head + _table(config, fingerprint, tokens_of) + body


def renewed(card: str, config: CViViTConfig, fingerprint: str, tokens_of: Sequence[str] = ()) -> str:
    """Return a card whose table describes other weights. Everything else in it stays as it is."""
    table = _table(config, fingerprint, tokens_of)
    return _TABLE.sub(lambda _: table, card, count=1)


def _table(config: CViViTConfig, fingerprint: str, tokens_of: Sequence[str]) -> str:
    height, width = config.image_size
    latent, rows, columns = config.grid
    table = dedent(f"""\
        | | |
        |---|---|
        | clip | {config.clip_frames} frames, {height}x{width}, {config.fps:g} fps |
        | tokens of a clip | {latent} x {rows} x {columns} (T, H, W) |
        | codebook | {config.codebook_size} codes, {config.quantizer} |
        | width, heads | {config.dim}, {config.heads} of {config.dim_head} |
        | layers on each side | {config.spatial_depth} spatial, {config.temporal_depth} temporal |
        | temporal attention | {"causal" if config.causal else "bidirectional"} |
        """)
    others = [each for each in dict.fromkeys(tokens_of) if each != fingerprint]
    if others:
        table += f"| also decodes tokens of | {', '.join(f'`{each}`' for each in others)} |\n"
    return (
        table + f"| fingerprint | `{fingerprint}` |\n"
    )  # the last row: `renewed` finds the table's end by it
