"""Datasets of made-up tokens: everything but the reading and the network is real, and a source costs nothing.

As a program it tries the failed sources of a dataset again, in copies of it, and is killed while it does so:
in OUTPUT-0 before the first change of a file, in OUTPUT-STEP after STEP changes, and so on::

    python -m tests.cvivit.tokenizing.made_up INPUT OUTPUT FORM STEP
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
from collections.abc import Callable, Collection, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from cvivit.bulk import EncodedSource, FailedSource, Progress, ReadOptions, Result
from cvivit.config import CViViTConfig
from cvivit.tokenizing.making import MakeInOrder, ToEncode
from cvivit.tokenizing.run import tokenize
from cvivit.tokenizing.settings import TokenizeSettings
from cvivit.tokens.datasets.manifest import Form, Manifest

CONFIG = CViViTConfig.demo(image_size=32, clip_frames=5, codebook_size=64, codebook_dim=8)
FORMS: tuple[Form, ...] = ("webdataset", "flat", "parquet")


class MadeUp:
    """Makes the tokens of sources from their names.

    Args:
        down: names of sources that fail.
        between: called before each source.
    """

    def __init__(self, down: Collection[str] = (), between: Callable[[], object] = lambda: None) -> None:
        self.down = down
        self.between = between
        self.asked: list[str] = []

    def __call__(
        self, sources: ToEncode, options: ReadOptions, /, *, progress: Callable[[Progress], None]
    ) -> Generator[Result, None, None]:
        for source in sources:
            self.between()
            self.asked.append(source.name)
            if source.name in self.down:
                yield FailedSource(source=source, code="unreadable", message="Input/output error")
                continue
            rng = np.random.default_rng(list(os.fsencode(source.name)))
            windows = int(rng.integers(1, 4))
            yield EncodedSource(
                source=source,
                indices=rng.integers(0, 64, (windows, *CONFIG.grid), np.uint16),
                frames=5 * windows - 2,
                first_frames=tuple(range(0, 5 * windows, 5)),
            )


def made_up(videos: Path, output: Path, encode: MadeUp, **options: Any) -> Manifest:
    """Make a dataset of made-up tokens."""
    own = {name: options.pop(name) for name in ("max_failed", "retry_failed") if name in options}
    settings = TokenizeSettings(**({"sources_per_shard": 4} | options))
    tokenizer: Any = SimpleNamespace(fingerprint="f" * 64, config=CONFIG, precision="exact")
    return tokenize([str(videos)], output, tokenizer, settings, make_shards=MakeInOrder(encode), **own)


def die_before_change(number: int, folder: Path) -> None:
    """Kill this process before the given change of a file in a folder, counted from 0."""
    left = number

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        writes = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        changes = event in ("os.remove", "os.rename", "os.truncate", "os.mkdir", "os.rmdir")
        if (writes or changes) and str(folder) in os.fsdecode(str(arguments[0])):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


def main() -> None:
    """Write to stdout after how many changes of a file a process was not killed any more."""
    videos, output, form, step = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    for number in itertools.count(step=step):
        target = shutil.copytree(output, output.with_name(f"{output.name}-{number}"))
        process = os.fork()
        if process == 0:
            die_before_change(number, target)
            made_up(videos, target, MadeUp(), form=form, windows=2, retry_failed=True)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            sys.stdout.write(str(number))
            return


if __name__ == "__main__":
    main()
