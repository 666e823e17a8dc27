"""Write docs/scaling.md: what measured figures mean for a million and a billion clips.

`python -m docs.scaling > docs/scaling.md`. Everything measured is read from cvivit/PERFORMANCE.md. Everything
else on the page is computed from that and from the assumptions here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cvivit.config import CViViTConfig

PERFORMANCE: Final = Path(__file__).parents[1] / "cvivit" / "PERFORMANCE.md"

CONFIG: Final = CViViTConfig.released()
CLIP_SECONDS: Final = CONFIG.clip_frames / CONFIG.fps
TOKEN_BYTES: Final = 2
MILLION: Final = 1_000_000
BILLION: Final = 1_000_000_000

GPU_RATES: Final = (250, 1000, 4000)
"""Clips a second of one GPU. Assumed: none has been measured."""
NODE_GPUS: Final = 8
NODE_CORES: Final = 192
"""Assumed: a usual node with eight GPUs."""
MEGABITS: Final = {"360p": 0.8, "720p": 2.5, "1080p": 5.0, "4K": 16.0}
"""Megabits a second of the sources. Assumed: usual for H.264 at 30 frames a second."""
FORMATS: Final = (
    *(f"H.264 {height}" for height in MEGABITS),
    *("HEVC 1080p", "VP9 1080p", "AV1 720p", "AV1 1080p"),
)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What PERFORMANCE.md says."""

    reading: dict[str, float]
    """Seconds of one core for a clip, by codec and height."""
    encoding: float
    """Seconds for a clip on two Intel cores, in `fast`."""


def measured() -> Measured:
    """Read the figures from PERFORMANCE.md."""
    text = PERFORMANCE.read_text()
    rows = re.findall(r"^\| ([\w.-]+ (?:360p|720p|1080p|4K)) \| [\d,]+ \| ([\d,]+) \|", text, re.MULTILINE)
    reading = {name: float(value.replace(",", "")) / 1000 for name, value in rows}
    intel = text.split("### Two AMD")[0]
    (encoding,) = re.findall(r"^\| fast \| 4 \| encode \| (\d+) \|", intel, re.MULTILINE)
    return Measured(reading=reading, encoding=float(encoding) / 1000)


def page() -> str:
    """Return the page."""
    known = measured()
    return TEXT.format(
        clip_seconds=f"{CLIP_SECONDS:.3f}",
        frames=CONFIG.clip_frames,
        fps=f"{CONFIG.fps:g}",
        inputs=_inputs(known),
        cores=_cores(known),
        node=_node(known),
        time=_time(known),
        both=_both(known),
        tokens=_tokens(),
        sources=_sources(known),
        cores_per_gpu=NODE_CORES // NODE_GPUS,
        node_gpus=NODE_GPUS,
        node_cores=NODE_CORES,
    )


def node_rate(reading: float, gpu: float) -> tuple[float, str]:
    """Return the clips a second of a node, and the side that limits it.

    Args:
        reading: seconds of one core for a clip.
        gpu: clips a second of one GPU.
    """
    cores, gpus = NODE_CORES / reading, NODE_GPUS * gpu
    return min(cores, gpus), "reading" if cores < gpus else "GPUs"


def shared_rate(reading: float, encoding: float, cores: float) -> float:
    """Return the clips a second where reading and model take turns on the same cores.

    Args:
        reading: seconds of one core for a clip.
        encoding: seconds of one core for a clip.
        cores: how many cores there are.
    """
    return cores / (reading + encoding)


def clip_bytes(height: str) -> float:
    """Return the bytes of the part of a source that one clip is made of."""
    return MEGABITS[height] * 1e6 / 8 * CLIP_SECONDS


def _inputs(known: Measured) -> str:
    rows = [("encoding a clip, `fast`, two Intel cores", f"{known.encoding * 1000:.0f} ms", "measured")]
    rows += [
        (f"reading a clip, {name}, one core", f"{known.reading[name] * 1000:.0f} ms", "measured")
        for name in FORMATS
    ]
    rows += [
        ("clips a second of a GPU", ", ".join(f"{rate:,}" for rate in GPU_RATES), "assumed"),
        ("a node", f"{NODE_GPUS} GPUs, {NODE_CORES} cores", "assumed"),
    ]
    rows += [(f"bit rate at {height}", f"{rate:g} Mbit/s", "assumed") for height, rate in MEGABITS.items()]
    return table(("input", "value", "source"), rows)


def _cores(known: Measured) -> str:
    heads = ("source", "clips/s of a core", *(f"cores for {rate:,} clips/s" for rate in GPU_RATES))
    return table(
        heads,
        (
            (
                name,
                f"1 / {known.reading[name]:.3f} = {1 / known.reading[name]:.1f}",
                *(f"{rate * known.reading[name]:,.0f}" for rate in GPU_RATES),
            )
            for name in FORMATS
        ),
    )


def _node(known: Measured) -> str:
    rows = []
    for name in FORMATS:
        cells = [name, f"{NODE_CORES} / {known.reading[name]:.3f} = {NODE_CORES / known.reading[name]:,.0f}"]
        for rate in GPU_RATES:
            clips, side = node_rate(known.reading[name], rate)
            cells.append(f"{clips:,.0f} ({side})")
        rows.append(cells)
    heads = ("source", "reading allows", *(f"with GPUs of {rate:,}" for rate in GPU_RATES))
    return table(heads, rows)


def _time(known: Measured) -> str:
    rows = []
    for name in FORMATS:
        clips, _ = node_rate(known.reading[name], GPU_RATES[1])
        rows.append(
            (
                name,
                f"{clips:,.0f}",
                f"{MILLION / clips / 60:,.1f} min",
                f"{BILLION / clips / 86400:,.1f} days",
                f"{BILLION / clips / 86400 / 16 * 24:,.1f} h",
            )
        )
    return table(("source", "clips/s of a node", "a million", "a billion", "a billion on 16 nodes"), rows)


def _both(known: Measured) -> str:
    encoding = 2 * known.encoding
    rows = []
    for name in FORMATS[: len(MEGABITS)]:
        two, all_cores = (shared_rate(known.reading[name], encoding, cores) for cores in (2, NODE_CORES))
        rows.append(
            (
                name,
                f"2 / ({known.reading[name]:.3f} + {encoding:.3f}) = {two:.1f}",
                f"{MILLION / two / 3600:,.1f} h",
                f"{all_cores:,.0f}",
                f"{MILLION / all_cores / 60:,.0f} min",
                f"{BILLION / all_cores / 86400:,.0f} days",
            )
        )
    heads = (
        "source",
        "clips/s, 2 cores",
        "a million",
        f"clips/s, {NODE_CORES} cores",
        "a million",
        "a billion",
    )
    return table(heads, rows)


def _tokens() -> str:
    latent, height, width = CONFIG.grid
    count = latent * height * width
    size = count * TOKEN_BYTES
    least = count * (CONFIG.codebook_size - 1).bit_length() / 8
    rows = (
        ("tokens", f"{latent} x {height} x {width} = {count:,}", count, " billion", " trillion"),
        ("as uint16", f"{count:,} x {TOKEN_BYTES} = {size:,} B", size, " GB", " TB"),
        ("at 13 bits each, if all codes were equally likely", f"{least:,.0f} B", least, " GB", " TB"),
    )
    return table(
        ("", "a clip", "a million", "a billion"),
        (
            (name, clip, f"{thousandths / 1e3:.2f}{million}", f"{thousandths / 1e3:.2f}{billion}")
            for name, clip, thousandths, million, billion in rows
        ),
    )


def _sources(known: Measured) -> str:
    rows = []
    for height in MEGABITS:
        size = clip_bytes(height)
        clips, _ = node_rate(known.reading[f"H.264 {height}"], GPU_RATES[1])
        rows.append(
            (
                height,
                f"{MEGABITS[height]:g} / 8 x {CLIP_SECONDS:.3f} = {size / 1e6:.2f} MB",
                f"{size * MILLION / 1e12:.2f} TB",
                f"{size * BILLION / 1e12:,.0f} TB",
                f"{clips:,.0f} x {size / 1e6:.2f} MB = {clips * size * 8 / 1e9:.1f} Gbit/s",
            )
        )
    return table(("source", "a clip", "a million", "a billion", "network of a node"), rows)


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table in Markdown."""
    lines = [list(heads), *(list(row) for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


TEXT: Final = """\
# A million clips, and a billion

This page says what measured figures mean for large datasets. `python -m docs.scaling > docs/scaling.md`
writes it from [PERFORMANCE.md](../cvivit/PERFORMANCE.md), and a test compares the two. **No GPU has been
measured.** What follows for GPUs is arithmetic from assumed rates; put in what `cvivit gpu-check` prints on
yours.

A clip is {frames} frames at {fps} a second: {clip_seconds} s of video.

## What goes in
{inputs}

The times of reading were measured on one of two cores while the other was busy, so an idle machine is faster.

## Reading decides at 720p and above
A GPU waits unless the cores read as fast as it computes. How many cores it takes is the rate of the GPU
times the seconds that a core reads for one clip:

{cores}

A node with {node_gpus} GPUs and {node_cores} cores has {cores_per_gpu} cores for a GPU. It does the smaller
of what its cores read and what its GPUs compute:

{node}

Where reading decides, GPUs are not what is missing. What helps is more cores for each GPU, sources of a
lower resolution (the network sees 128x128), and AV1 rather than HEVC or VP9. Otherwise fewer or cheaper
GPUs do the same.

## How long it takes
With GPUs of the middle rate, where every node reads and computes:

{time}

Without GPUs, reading and model share the cores, so their times add up. The rate for two cores is arithmetic
from two measured times; that more cores are faster in proportion is assumed:

{both}

## What comes out
{tokens}

A billion clips of tokens fit on one disk. Written at the rate of a node they are a few megabytes a second,
so the network and the file system are there for the sources.

## What has to be read
{sources}

The bytes are those of the parts that are encoded. A source is read whole where its clips follow each other.
Keep the sources in the same region as the nodes: what leaves a region is paid by the byte.

## One machine or many
One machine is enough for millions, as the tables show. For more, the same command runs on a
[Ray](https://docs.ray.io) cluster:

```sh
cvivit tokenize s3://films/ /shared/tokens --ray HEAD_NODE:6379
```

Actors on all CPUs read, and one on each GPU encodes. After a minute the command prints how many reading actors
keep a GPU busy, which is the second table above for your sources. This program alone writes the dataset, so the
shards are those of one machine, to the byte in `exact` on machines of one kind, and after a kill the same command
goes on. The sources must have the same names on every machine, so use URLs or a shared file system, and this
package must be installed there. `--ray local` starts Ray on this machine, and `--ray auto` joins the one that
runs here.

Without GPUs an actor encodes with one thread, where `cvivit tokenize` alone uses all cores for a clip. The tokens
were the same in every comparison, with 1 to 32 threads, but a sum of floats may be added in another order there.

The tokens of all clips pass through that program: 3 KB each, so 300,000 clips a second fill 10 Gbit/s. Past that, or
without Ray, give each machine a part of the inputs and an output of its own. What serves requests past one
machine is another matter: see [Ray and Kubernetes](../docker/README.md#on-kubernetes).
"""


if __name__ == "__main__":
    sys.stdout.write(page())
