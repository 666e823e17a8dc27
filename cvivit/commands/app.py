"""The `cvivit` command. It joins the subcommands, and turns errors into one line and an exit status."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any

import typer

from cvivit import __version__
from cvivit.commands.checks.agreement import agreement
from cvivit.commands.checks.bench import bench
from cvivit.commands.checks.gpu_check import gpu_check
from cvivit.commands.common import printable
from cvivit.commands.decode import decode
from cvivit.commands.detokenize import detokenize
from cvivit.commands.encode import encode
from cvivit.commands.info import info
from cvivit.commands.many.plan import nearest
from cvivit.commands.reconstruct import reconstruct
from cvivit.commands.tokenize import tokenize
from cvivit.commands.tokens import tokens
from cvivit.commands.visualize import visualize
from cvivit.errors import CViViTError, DeviceChoiceError
from cvivit.starting import INTERRUPTED, end_at_once_on_interrupt

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"cvivit {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Turn videos into tokens and back, with C-ViViT."""


for command in (
    encode,
    decode,
    reconstruct,
    visualize,
    tokenize,
    detokenize,
    info,
    bench,
    agreement,
    gpu_check,
):
    app.command()(command)
app.add_typer(tokens, name="tokens")


_USAGE_ERROR = typer.BadParameter.__mro__[2]
"""The class of all errors of arguments and options. typer has it in a module whose place depends on its
version."""
_PARSING = re.compile(r", unable to parse string as an? \w+")
_CHOICES = re.compile(r"'([^']*)' is not one of (.*?)\.?$")
_OPTIONS = re.compile(r"(--?\S+) (\(Possible options: (.*)\))")


def main() -> None:
    """Run the command. Errors of input, weights and files are one line on stderr and exit status 1.

    A mistake in the arguments is one line too, with exit status 2.
    """
    try:
        status = app(standalone_mode=False)
    except DeviceChoiceError as error:  # its name was right, and only torch could tell that it is not here
        print(f"cvivit: Invalid value for '--device': {printable(str(error))}", file=sys.stderr)
        sys.exit(2)
    except (CViViTError, OSError, ValueError, MemoryError) as error:
        print(f"cvivit: {printable(_described(error))}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, _USAGE_ERROR):
            raise
        if type(error).__name__ != "NoArgsIsHelpError":  # typer has printed the help
            print(_usage(error), file=sys.stderr)
        sys.exit(2)
    if status == INTERRUPTED:
        end_at_once_on_interrupt()
        print("cvivit: stopped. What is done stays, and the same command goes on from there", file=sys.stderr)
    sys.exit(status or 0)


def _described(error: Exception) -> str:
    """Return what went wrong in one line, with the name of the file where the error knows it."""
    if isinstance(error, OSError) and error.strerror:
        named = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        return f"{named}{error.strerror[0].lower()}{error.strerror[1:]}"
    message = str(error) or "out of memory"
    inputs = getattr(error, "__notes__", [])  # `opened` of cvivit.commands.many.single notes the input
    return ": ".join([*(name for name in inputs if not message.startswith(name)), message])


def _usage(error: Any) -> str:
    """Return one line that says which option is wrong, what was expected, and the nearest right spelling."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "cvivit"
    message = error.format_message().replace("Value error, ", "").replace("Input should", "it should")
    message = _PARSING.sub("", message)
    if message.startswith("Missing argument 'INPUT...'"):  # the last name that was given is the output
        message = "Missing argument: INPUT... and OUTPUT are needed, and at most one of them was given"
    if found := _CHOICES.search(message):
        message = message.rstrip(".") + nearest(found[1], re.findall(r"'([^']*)'", found[2]))
    elif found := _OPTIONS.search(message):
        message = message[: found.start(2)].rstrip() + nearest(found[1], found[3].split(", "))
    return f"{command}: {' '.join(message.split())} (see {command} --help)"


if __name__ == "__main__":
    main()
