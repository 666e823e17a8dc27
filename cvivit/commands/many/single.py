"""One file to one file: what the commands do with a plan of a single input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import typer

from cvivit.commands.common import report_written
from cvivit.commands.many.made import Outputs, made_from
from cvivit.commands.many.plan import PIPE, Plan
from cvivit.commands.many.report import Report
from cvivit.commands.many.storing import store_tokens, store_video
from cvivit.commands.many.writing import admit
from cvivit.errors import CViViTError
from cvivit.files import is_special
from cvivit.inputs import Source, open_source, stamp_of
from cvivit.inputs.locations import is_url

if TYPE_CHECKING:
    import numpy as np

    from cvivit.tokens.grid import TokenGrid


class Single:
    """The input and the output of a plan of one file.

    Args:
        plan: the plan.
        model: the fingerprint of the weights.
        settings: what else decides the bytes of the output.
        force: whether another output is replaced.
        as_json: whether a summary goes to stdout.

    Raises:
        OutputMismatchError: there is another output.
        typer.BadParameter: stdout is wanted twice, or is a terminal.
    """

    def __init__(
        self, plan: Plan, model: str, settings: dict[str, Any], *, force: bool, as_json: bool
    ) -> None:
        assert plan.single is not None
        self._plan, self._as_json = plan, as_json
        self._report = Report()
        self._outputs = Outputs(plan.output.parent)
        location = plan.single if is_url(plan.single) else os.path.abspath(os.path.expanduser(plan.single))
        self._source = Source(location=location, name=os.path.basename(location), kind="video")
        is_file = plan.single != PIPE and (is_url(location) or os.path.isfile(location))
        self._key = made_from(stamp_of(self._source), model, settings) if is_file else None
        """What the output is made from, or None for a pipe, which cannot be told from another."""
        self.is_wanted = True
        """Whether the output is not there yet."""
        self._must_equal = False
        """Whether there is an output of unknown origin, so that only one with the same contents may replace
        it."""
        if str(plan.output) == PIPE:
            if as_json:
                raise typer.BadParameter("stdout is the output itself", param_hint="--json")
            if sys.stdout.isatty():
                raise typer.BadParameter(
                    "stdout is a terminal; send it to a file or a pipe", param_hint="OUTPUT"
                )
        elif not is_special(plan.output):
            state = self._outputs.state(plan.output, self._key)
            self._must_equal = state == "unknown" and not force
            self.is_wanted = self._must_equal or admit(plan.output, state, force=force)
        if not self.is_wanted:
            self._report.keep()
            print(f"kept {plan.output}: it was made by this command before", file=sys.stderr)
            self._summarize()

    @contextmanager
    def opened(self) -> Iterator[str | BinaryIO]:
        """Yield what `VideoTokenizer.encode` and `TokenGrid.load` take: a path or a file object.

        Raises:
            OSError: it cannot be opened.
            InputError: a server does not give it.
        """
        try:
            yield from self._open()
        except CViViTError as error:
            error.add_note("stdin" if self._plan.single == PIPE else str(self._plan.single))
            raise

    def _open(self) -> Iterator[str | BinaryIO]:
        if self._plan.single == PIPE:
            yield sys.stdin.buffer
        elif is_url(self._source.location):
            with open_source(self._source) as path:
                yield path
        else:
            yield os.path.expanduser(str(self._plan.single))

    @property
    def can_be_read_twice(self) -> bool:
        """Whether what `opened` yields is a file, and no pipe."""
        return is_url(self._source.location) or os.path.isfile(self._source.location)

    def read(self, opened: str | BinaryIO) -> bytes:
        """Return all bytes of what `opened` yields."""
        return Path(opened).read_bytes() if isinstance(opened, str) else opened.read()

    def store_tokens(self, grid: TokenGrid) -> None:
        """Write the output as tokens. Raises what `storing.store_tokens` raises."""
        store_tokens(
            grid, self._plan.output, self._plan.suffix, self._outputs, self._key, must_equal=self._must_equal
        )

    def store_video(self, frames: Iterable[np.ndarray], fps: float) -> None:
        """Write the output as a video of frames, uint8 `h w 3`. Raises what `storing.store_video` raises."""
        store_video(
            frames,
            fps,
            self._plan.output,
            self._plan.suffix,
            self._outputs,
            self._key,
            must_equal=self._must_equal,
        )

    def say(self, clips: int, contents: str) -> None:
        """Say what was written."""
        self._report.write(clips)
        report_written(Path("stdout") if str(self._plan.output) == PIPE else self._plan.output, contents)
        self._summarize()

    def _summarize(self) -> None:
        if self._as_json:
            self._report.print_json(self._plan.output)
