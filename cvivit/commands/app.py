"""The `cvivit` command. It joins the subcommands, and turns errors into one line and an exit status."""

from __future__ import annotations

import re
import sys
from typing import Any

import typer

from cvivit.commands.checks.agreement import agreement
from cvivit.commands.checks.bench import bench
from cvivit.commands.checks.gpu_check import gpu_check
from cvivit.commands.decode import decode
from cvivit.commands.detokenize import detokenize
from cvivit.commands.encode import encode
from cvivit.commands.info import info
from cvivit.commands.many.plan import nearest
from cvivit.commands.reconstruct import reconstruct
from cvivit.commands.tokenize import tokenize
from cvivit.commands.tokens import tokens
from cvivit.commands.visualize import visualize
from cvivit.errors import CViViTError

app = typer.Typer(
    help="Turn videos into tokens and back, with C-ViViT.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
)
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
_CHOICES = re.compile(r"'([^']*)' is not one of (.*?)\.?$")
_OPTIONS = re.compile(r"(--?\S+) (\(Possible options: (.*)\))")


def main() -> None:
    """Run the command. Errors of input, weights and files are one line on stderr and exit status 1.

    A mistake in the arguments is one line too, with exit status 2.
    """
    try:
        status = app(standalone_mode=False)
    except (CViViTError, OSError, ValueError, MemoryError) as error:
        print(f"cvivit: {str(error) or 'out of memory'}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if not isinstance(error, _USAGE_ERROR):
            raise
        print(_usage(error), file=sys.stderr)
        sys.exit(2)
    sys.exit(status or 0)


def _usage(error: Any) -> str:
    """Return one line that says which option is wrong, what was expected, and the nearest right spelling."""
    command = error.ctx.command_path if getattr(error, "ctx", None) else "cvivit"
    message = error.format_message().replace("Value error, ", "")
    if found := _CHOICES.search(message):
        message = message.rstrip(".") + nearest(found[1], re.findall(r"'([^']*)'", found[2]))
    elif found := _OPTIONS.search(message):
        message = message[: found.start(2)].rstrip() + nearest(found[1], found[3].split(", "))
    return f"{command}: {' '.join(message.split())} (see {command} --help)"


if __name__ == "__main__":
    main()
