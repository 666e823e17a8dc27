"""Memory and time of listing, resuming and the manifest for a million inputs that exist only as names.

Only the reading and the network are replaced: each source gets the same two windows immediately.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.places import ROOT

GIBIBYTE_KB = 2**20
PROGRAM = """
import resource, sys, time
from pathlib import Path
from types import SimpleNamespace
import numpy as np
from cvivit.bulk import EncodedSource, FailedSource
from cvivit.config import CViViTConfig
from cvivit.tokenizing.run import tokenize
from cvivit.tokenizing.settings import TokenizeSettings
from cvivit.tokenizing.shards import part_of, to_encode, write_shard

table, output, most = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
config = CViViTConfig.demo(image_size=32, clip_frames=5, codebook_size=64, codebook_dim=8)
tokens = np.arange(2 * 48, dtype=np.uint16).reshape(2, *config.grid) % 64
tokenizer = SimpleNamespace(fingerprint="f" * 64, config=config, precision="exact")

class Stopped(Exception):
    pass

def result(source):
    if source.location.endswith("7777.mp4"):
        return FailedSource(source=source, code="corrupt_video", message="made up")
    return EncodedSource(source=source, indices=tokens, frames=10, first_frames=(0, 5))

def make(plan, missing, ceiling, *, progress):
    for made, number in enumerate(missing):
        if made == most:
            raise Stopped
        task = plan.task(number)
        yield write_shard(task, map(result, to_encode(task, part_of(task).done)))

try:
    tokenize([table], output, tokenizer, TokenizeSettings(form="parquet"), make_shards=make)
except Stopped:
    print("stopped")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_million_inputs_fit_into_a_gibibyte(tmp_path: Path) -> None:
    count = int(os.environ.get("MILLION", 1_000_000))
    table = tmp_path / "table.csv"
    with table.open("w") as file:
        file.write("path,caption\n")
        file.writelines(f"/nowhere/{n // 1000:04d}/{n:07d}.mp4,caption {n}\n" for n in range(count))
    for most, ending in ((count // 2000, "stopped"), (count, "")):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(table), str(tmp_path / "out"), str(most)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        *said, peak = done.stdout.split()
        assert said == ([ending] if ending else [])
        assert int(peak) < GIBIBYTE_KB
    from cvivit.tokens import TokenDataset

    dataset = TokenDataset(tmp_path / "out")
    assert dataset.manifest.counts["sources"] == count
    assert len(dataset) == count - len(dataset.manifest.skipped)
    assert len(dataset.manifest.skipped) == count // 10_000
    assert dataset[-1].caption == f"caption {count - 1}"
