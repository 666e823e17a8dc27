"""Write one output, whole or not at all, together with what it was made from."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cvivit.commands.common import VIDEO_CONTAINERS
from cvivit.commands.many.made import METADATA_NAME, Outputs, digest_of, other
from cvivit.commands.many.plan import PIPE
from cvivit.errors import TokensError
from cvivit.files import is_special, replacing, replacing_path

if TYPE_CHECKING:
    import numpy as np

    from cvivit.tokens.grid import TokenGrid


def store_tokens(
    grid: TokenGrid,
    output: Path,
    suffix: str,
    outputs: Outputs,
    key: str | None,
    *,
    must_equal: bool = False,
) -> None:
    """Write tokens in the form of `suffix`. A `key` says what they were made from.

    Raises:
        OSError: the output cannot be written. What was there before is unchanged.
        OutputMismatchError: with `must_equal`, other tokens are there.
    """
    if suffix == ".json":
        data = grid.to_json().encode("ascii")
    else:
        data = grid.to_bytes(metadata={METADATA_NAME: key} if key else None)
    if str(output) == PIPE:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    if must_equal and not _holds(output, grid, suffix):
        raise other(output)
    if suffix == ".json" and not is_special(output):
        outputs.note(output, key, hashlib.sha256(data).hexdigest())
    with replacing(output) as file:
        file.write(data)


def _holds(output: Path, grid: TokenGrid, suffix: str) -> bool:
    """Return whether these tokens are in a file."""
    from cvivit.tokens.grid import TokenGrid

    try:
        found = TokenGrid.from_json(output.read_bytes()) if suffix == ".json" else TokenGrid.load(output)
    except TokensError:
        return False
    return found == grid


def store_video(
    frames: Iterable[np.ndarray],
    fps: float,
    output: Path,
    suffix: str,
    outputs: Outputs,
    key: str | None,
    *,
    must_equal: bool = False,
) -> None:
    """Write frames, uint8 `h w 3`, as a video of the container of `suffix`.

    Raises:
        OSError: the output cannot be written. What was there before is unchanged.
        OutputMismatchError: with `must_equal`, a file of other bytes is there.
    """
    from cvivit.video import write_video

    container = VIDEO_CONTAINERS[suffix]
    if str(output) == PIPE:
        write_video(frames, sys.stdout.buffer, fps=fps, container=container)
        sys.stdout.buffer.flush()
    elif is_special(output):
        write_video(frames, output, fps=fps, container=container)
    else:
        with replacing_path(output) as unfinished:
            write_video(frames, unfinished, fps=fps, container=container)
            digest = digest_of(unfinished)
            if must_equal and digest_of(output) != digest:
                raise other(output)
            outputs.note(output, key, digest)
