"""The rows of the reading stage hold what bulk encoding reads, in the order of the sources."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray", reason="Ray is not installed: it is an extra, [ray]")

from cvivit import VideoTokenizer
from cvivit.bulk import ReadOptions
from cvivit.bulk.messages import pack_source
from cvivit.inputs import find_sources
from cvivit.tokenizing.ray.stages import ROWS_AT_ONCE, ReadSources, Rows
from cvivit.video.reading import read_clips


def block(folder: Path, first: int = 0) -> Rows:
    sources = find_sources([str(folder)])
    messages = [pack_source(one) for one in sources]
    return {"number": np.arange(first, first + len(sources)), "source": messages}


def test_each_source_has_its_clips_and_ends_once(videos: Path, tiny_tokenizer: VideoTokenizer) -> None:
    with ExitStack() as on_exit:
        broken = videos / "broken.mp4"
        broken.write_bytes(b"no video")
        on_exit.callback(broken.unlink)
        sources = find_sources([str(videos)])
        options = ReadOptions()
        clip_format = options.clip_format(tiny_tokenizer.config)
        stage = ReadSources(clip_format, options)
        on_exit.callback(stage.close)
        for first in (0, 8):  # the second block goes to the same process
            batches = list(stage(block(videos, first)))
            assert all(len(batch["number"]) <= ROWS_AT_ONCE for batch in batches)
            rows = {name: [row for batch in batches for row in batch[name]] for name in batches[0]}
            assert rows["number"] == sorted(rows["number"])
            for place, source in enumerate(sources):
                mine = [row for row, number in enumerate(rows["number"]) if number == first + place]
                assert [rows["last"][row] for row in mine] == [False] * (len(mine) - 1) + [True]
                if source.name == "broken.mp4":
                    assert json.loads(rows["failure"][mine[0]])[0] == "unsupported_media"
                    continue
                with read_clips(source.location, clip_format) as clips:
                    np.testing.assert_array_equal([rows["pixels"][row] for row in mine], list(clips))
                    assert rows["frames"][mine[-1]] == clips.frames
                assert not any(rows["failure"][row] for row in mine)
