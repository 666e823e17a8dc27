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
    """Compile in a process of its own: in this one Triton interprets."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-m", "cvivit.runtime.cuda.ahead", *arguments]
    done = subprocess.run(
        command, env=environment | {"TRITON_CACHE_DIR": str(cache)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("capability", [80, 90, 100])
def test_every_kernel_compiles_without_spills(capability: int, tmp_path: Path) -> None:
    compiled = compile_in_a_process("--capability", str(capability), cache=tmp_path)
    assert {line["kernel"] for line in compiled} == KERNELS
    assert all(line["stack_bytes"] == 0 for line in compiled)
    assert list(tmp_path.rglob("*.cubin"))


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 90, 100])
@pytest.mark.parametrize("preset", ["demo", "paper", "lucidrains"])
def test_the_other_presets_compile_without_spills(preset: str, capability: int, tmp_path: Path) -> None:
    compiled = compile_in_a_process("--preset", preset, "--capability", str(capability), cache=tmp_path)
    assert all(line["stack_bytes"] == 0 for line in compiled)
