"""The `cvivit` command. It joins the subcommands, and turns errors into one line and an exit status."""

from __future__ import annotations

import sys

import typer

from cvivit.commands.checks.agreement import agreement
from cvivit.commands.checks.bench import bench
from cvivit.commands.checks.gpu_check import gpu_check
from cvivit.commands.decode import decode
from cvivit.commands.encode import encode
from cvivit.commands.info import info
from cvivit.commands.reconstruct import reconstruct
from cvivit.commands.visualize import visualize
from cvivit.errors import CViViTError

app = typer.Typer(
    help="Turn videos into tokens and back, with C-ViViT.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
)
for command in (encode, decode, reconstruct, visualize, info, bench, agreement, gpu_check):
    app.command()(command)


def main() -> None:
    """Run the command. Errors of input, weights and files are one line on stderr and exit status 1."""
    try:
        app()
    except (CViViTError, OSError, ValueError, MemoryError) as error:
        print(f"cvivit: {str(error) or 'out of memory'}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
