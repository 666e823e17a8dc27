"""Copy clips of shards into new shards of a total size, from each source in turn.

Sources are told apart by the prefix of their samples' keys, up to the first `_`. A source of few clips is
kept whole, and large ones share what is left::

    python -m training.demonstration.pack shards/ packed/ --megabytes 35
"""

from __future__ import annotations

import io
import itertools
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cvivit.files import replacing
from training.demonstration.choose import prefix_of

BLOCK_BYTES = 512
SHARDS = 8
"""Shards that are written, so that as many workers can read them."""
MEGABYTE = 1_000_000

Sample = tuple[Path, tarfile.TarInfo]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def in_turn(samples: Sequence[Sample], seed: int = 0) -> Iterator[Sample]:
    """Yield samples at random within each prefix, one of each prefix in turn until all are used up."""
    by_prefix = defaultdict(list)
    for sample in samples:
        by_prefix[prefix_of(sample[1].name)].append(sample)
    rng = np.random.default_rng(seed)
    shuffled = [[group[place] for place in rng.permutation(len(group))] for group in by_prefix.values()]
    for turn in itertools.zip_longest(*shuffled):
        yield from (sample for sample in turn if sample is not None)


def pack(shards: Sequence[Path], output: Path, *, size: int) -> Counter[str]:
    """Write at most `size` bytes of the samples of shards to `output/train-*.tar`.

    Returns:
        how many samples of each prefix were written.
    """
    samples: list[Sample] = []
    for shard in shards:
        with tarfile.open(shard) as tar:
            samples += [(shard, member) for member in tar if member.isfile()]
    # A tar ends with blocks of zeros, up to a multiple of 20 blocks.
    left = size - SHARDS * 20 * BLOCK_BYTES
    chosen: list[Sample] = []
    for sample in in_turn(samples):
        needed = BLOCK_BYTES + -(-sample[1].size // BLOCK_BYTES) * BLOCK_BYTES
        if needed > left:
            break
        left -= needed
        chosen.append(sample)
    order = np.random.default_rng(1).permutation(len(chosen))
    output.mkdir(parents=True, exist_ok=True)
    for number in range(SHARDS):
        _write(output / f"train-{number:06d}.tar", [chosen[place] for place in order[number::SHARDS]])
    return Counter(prefix_of(member.name) for _, member in chosen)


def _write(path: Path, samples: Sequence[Sample]) -> None:
    with replacing(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for shard, member in samples:
            with open(shard, "rb") as source:
                source.seek(member.offset_data)
                tar.addfile(member, io.BytesIO(source.read(member.size)))


@app.command()
def main(
    shards: Annotated[Path, typer.Argument(help="A folder that prepare has written.", exists=True)],
    output: Annotated[Path, typer.Argument(help="The folder to write shards to.")],
    megabytes: Annotated[float, typer.Option(min=1, help="The size of all of them, in 10^6 bytes.")] = 35,
) -> None:
    """Copy clips of shards into new shards of a total size, from each source in turn."""
    found = sorted(shards.glob("train-*.tar"))
    if not found:
        raise typer.BadParameter(f"{shards} holds no train-*.tar", param_hint="SHARDS")
    counts = pack(found, output, size=round(megabytes * MEGABYTE))
    written = sum(path.stat().st_size for path in output.glob("train-*.tar"))
    sources = ", ".join(f"{prefix} {count}" for prefix, count in counts.most_common())
    typer.echo(f"{output}: {counts.total()} clips, {written / MEGABYTE:.1f} MB ({sources})")


if __name__ == "__main__":
    app()
