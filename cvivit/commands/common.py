"""The parts that commands share: options, checks of paths, the progress bar, and the final line."""

from __future__ import annotations

import errno
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from cvivit.errors import CViViTError, DeviceChoiceError
from cvivit.files import is_special
from cvivit.folders import IN_PLACE_OF_FOLDER
from cvivit.inputs.locations import url_in
from cvivit.runtime.device_names import check_device_name

if TYPE_CHECKING:
    from cvivit.runtime.precision import PrecisionChoice
    from cvivit.tokenizer import VideoTokenizer
    from cvivit.video import VideoContainer

# The modules of the commands import what takes long, such as torch, only when a command runs. So `--help`
# and a mistyped option are answered at once.

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="The weights: demo, a Hub repository, a folder, or a .safetensors or .bin file.",
    ),
]
RevisionOption = Annotated[
    str | None, typer.Option("--revision", help="The branch, tag or commit of a Hub repository.")
]


def _device(name: str) -> str:
    """Refuse what cannot be a device, as a mistake in this option."""
    try:
        return check_device_name(name)
    except DeviceChoiceError as error:
        raise typer.BadParameter(str(error)) from None


DeviceOption = Annotated[str, typer.Option("--device", callback=_device, help="auto, cpu, cuda or cuda:N.")]
PrecisionOption = Annotated[
    Literal["auto", "exact", "fast"],
    typer.Option(
        "--precision",
        help="exact computes in float32, fast in bfloat16, and auto is fast where the hardware has bfloat16.",
    ),
]
FitOption = Annotated[
    Literal["crop", "pad", "stretch"],
    typer.Option(
        "--fit",
        help="How frames become square: crop to the middle, pad with black, or stretch.",
    ),
]


LocalName = TypeVar("LocalName", str, Path, str | None, Path | None)


def local_output(name: LocalName) -> LocalName:
    """Refuse an output behind a URL, which would become a folder of this computer called `s3:`."""
    if name is not None and (url := url_in(name)):
        raise typer.BadParameter(f"{url} is a URL: write to this computer, and copy from there")
    return name


def local_input(name: LocalName) -> LocalName:
    """Refuse a URL where only a path is read."""
    if name is not None and (url := url_in(name)):
        raise typer.BadParameter(f"{url} is a URL, which is not read here: copy it to this computer first")
    return name


def _start(seconds: float) -> float:
    if not 0 <= seconds < math.inf:
        raise typer.BadParameter(f"{seconds:g} is not a number of seconds from 0 on")
    return seconds


def _seconds(seconds: float | None) -> float | None:
    if seconds is not None and not 0 < seconds < math.inf:
        raise typer.BadParameter(f"{seconds:g} is not a positive number of seconds")
    return seconds


StartOption = Annotated[
    float,
    typer.Option(
        "--start", callback=_start, help="Seconds to skip after the first frame of the video, from 0 on."
    ),
]
SecondsOption = Annotated[
    float | None,
    typer.Option(
        "--seconds", callback=_seconds, help="Seconds to read from there on; all of them by default."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
OutputArgument = Annotated[
    Path,
    typer.Argument(
        metavar="OUTPUT",
        callback=local_output,
        help="The file to write. Its suffix says in which form.",
    ),
]
InputsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="INPUT...", help="Files, folders, globs, and lists or tables of them; - alone is stdin."
    ),
]
OutputsArgument = Annotated[
    str,
    typer.Argument(
        metavar="OUTPUT",
        callback=local_output,
        help="The file to write; its suffix says in which form. - is stdout. For several inputs, a folder.",
    ),
]
ReadersOption = Annotated[
    int | None,
    typer.Option(
        "--readers", min=1, help="How many processes read videos.", show_default="one for each core"
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace outputs of another source, model or settings.")
]
SummaryOption = Annotated[bool, typer.Option("--json", help="Print a summary as JSON on stdout.")]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

VIDEO_CONTAINERS: dict[str, VideoContainer] = {".mp4": "mp4", ".webm": "webm", ".gif": "gif"}


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """What the options say about weights, device and precision."""

    model: str
    revision: str | None
    device: str
    precision: PrecisionChoice

    def load(self) -> VideoTokenizer:
        """Load the tokenizer. It imports torch, which takes seconds."""
        return load_tokenizer(self.model, self.revision, self.device, self.precision)


def load_tokenizer(
    model: str, revision: str | None, device: str, precision: PrecisionChoice
) -> VideoTokenizer:
    """Load the tokenizer that the options name."""
    check_model(model, revision)
    from cvivit.tokenizer import VideoTokenizer

    return VideoTokenizer.from_pretrained(model, revision=revision, device=device, precision=precision)


def check_model(model: str, revision: str | None) -> None:
    """Check that weights on this machine are there, before torch is imported, which takes seconds.

    Raises:
        WeightsNotFoundError, ConfigError: they are not, or their `config.json` describes no network.
    """
    from cvivit.weights.source import local_config

    local_config(model, revision)


def check_token_files(paths: Iterable[str | Path], model: str, revision: str | None) -> None:
    """Check what token files hold, before torch is imported, if the configuration of the weights is here.

    Pipes can be read only once, so they are left out.

    Raises:
        OSError, TokensError: a file cannot be read, or no weights of this configuration can decode it.
        WeightsNotFoundError, ConfigError: as for `check_model`.
    """
    from cvivit.tokens.any_form import check_tokens
    from cvivit.weights.source import local_config

    config = local_config(model, revision)
    for path in paths:
        if config is not None and os.path.isfile(path):
            try:
                check_tokens(path, config)
            except CViViTError as error:
                error.add_note(str(path))
                raise


def check_paths(source: Path, output: Path) -> None:
    """Check the paths before the weights are loaded, so that no command fails after an hour's work.

    Raises:
        OSError: the input does not exist, the output's folder does not exist or takes no files, or the output
            is a folder.
    """
    source.stat()
    check_output(output)


def check_output(output: Path) -> None:
    """Check that a file can appear at a path.

    Raises:
        OSError: the folder does not exist or takes no files, or the path is that of a folder.
    """
    output.parent.stat()
    if not output.parent.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(output))
    if output.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(output))
    # A file appears beside its target and replaces it. A pipe or a device is written directly.
    written = output if is_special(output) else Path(os.path.realpath(output)).parent
    if not os.access(written, os.W_OK):
        raise PermissionError(errno.EACCES, "cannot be written, as its folder takes no files", str(output))


def check_folder(output: Path) -> None:
    """Check that a folder is there, or may be made, and takes files.

    Raises:
        OSError: something that is no folder is in its place or above it, or nothing can be written there.
    """
    found = next(path for path in (output, *output.absolute().parents) if path.exists())
    if not found.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, IN_PLACE_OF_FOLDER, str(found))
    if not os.access(found, os.W_OK):
        raise PermissionError(errno.EACCES, f"cannot be written, as {found} takes no files", str(output))


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 clip" or "2 clips"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def printable(text: str) -> str:
    """Return text in one line that a terminal shows as it is: names of files may hold any character."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def report_written(output: Path, contents: str) -> None:
    """Say on stderr what was written, in one line. stdout stays free for results."""
    print(f"wrote {output}: {contents}", file=sys.stderr)


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a progress bar on stderr while the body runs, and yield the function that moves it.

    The function takes how many steps are done and how many there are, if that is known. Nothing is shown
    where stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
