"""What `prepare` does with what belongs to its inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.prepare import PrepareSettings, prepare


@pytest.mark.parametrize("name", ["", "shards"])
def test_an_output_among_the_inputs_is_not_an_input(footage: Path, name: str) -> None:
    output, settings = footage / name, PrepareSettings(clip_frames=5, image_size=(32, 32))
    first = prepare([str(footage)], output, settings, processes=1)
    assert first["rejected"] == []
    assert prepare([str(footage)], output, settings, processes=1) == first
