"""Compiling ahead of time: no device is needed, and no kernel spills registers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is not installed: it is an extra, [cuda]")

KERNELS = {
    "cut", "layer_norm", "generate_positions", "spatial_attention", "temporal_attention", "gated_up",
    "nearest_codes", "gather_codes", "paste",
}  # fmt: skip


def compile_in_a_process(*arguments: str, cache: Path) -> list[dict[str, object]]:
    """Compile in another process, because Triton runs as an interpreter in this one."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "cvivit.runtime.cuda.ahead", *arguments]
    done = subprocess.run(
        command, env=environment | {"TRITON_CACHE_DIR": str(cache)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    "capability", [pytest.param(80, marks=pytest.mark.slow), 90, pytest.param(100, marks=pytest.mark.slow)]
)
def test_every_kernel_compiles_without_spills(capability: int, tmp_path: Path) -> None:
    compiled = compile_in_a_process("--capability", str(capability), cache=tmp_path)
    assert {line["kernel"] for line in compiled} == KERNELS
    assert all(line["stack_bytes"] == 0 for line in compiled)
    assert list(tmp_path.rglob("*.cubin"))


LAUNCH_WITH_TENSORS = """
import torch
from cvivit.config import CViViTConfig
from cvivit.network import CViViT
from cvivit.runtime.cuda import ahead
from cvivit.runtime.cuda.kernels.launching import Launch
from cvivit.runtime.cuda.network import PackedNetwork

calls = []
launch = Launch.__call__

def note(self, *arguments):
    calls.append((self, arguments))
    launch(self, *arguments)

Launch.__call__ = note
config = CViViTConfig.released().model_copy(update={"spatial_depth": 1, "temporal_depth": 1})
network = PackedNetwork(CViViT(config).eval(), torch.device("cpu"))
with ahead.recording(90):
    network.encode(torch.zeros(3, *config.clip_shape, dtype=torch.uint8))
    network.decode(torch.zeros(3, *config.grid, dtype=network.token_dtype))
with ahead._compiling_for(90):
    for each, arguments in calls:
        each.warm_up(*arguments)
print(len(calls))
"""


@pytest.mark.slow
def test_what_was_compiled_ahead_is_what_batches_launch(tmp_path: Path) -> None:
    """Triton finds the kernels of a batch in the cache, by their source, device and arguments.

    The arguments here are tensors, as in the service, and the batch has another size than the one compiled
    for. Without a device, the test cannot show that the driver loads the kernels that were found.
    """
    compile_in_a_process("--capability", "90", cache=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.cubin")}
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", LAUNCH_WITH_TENSORS],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(KERNELS)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.cubin")} == before


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("preset", ["demo", "paper", "lucidrains"])
def test_the_other_presets_compile_without_spills(preset: str, capability: int, tmp_path: Path) -> None:
    compiled = compile_in_a_process("--preset", preset, "--capability", str(capability), cache=tmp_path)
    assert all(line["stack_bytes"] == 0 for line in compiled)
