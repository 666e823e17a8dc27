"""List files, at most so many of each prefix, so that a source of many files does not drown the others.

The prefix of a file is its name up to the first `_`. Files that are left out are spread evenly over the
sorted names::

    python -m training.demonstration.choose footage/ list.txt --most droid=150 --most '*=60'
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cvivit.files import replacing

OTHERS = "*"
"""The name of the limit for prefixes that have none of their own."""

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def prefix_of(name: str) -> str:
    """Return the prefix of a file's name or of a sample's key."""
    return name.partition("_")[0]


def choose(names: Sequence[str], limits: Mapping[str, int]) -> list[str]:
    """Return the names to keep, sorted. A prefix without a limit keeps all of its names."""
    by_prefix = defaultdict(list)
    for name in sorted(names):
        by_prefix[prefix_of(Path(name).name)].append(name)
    kept: list[str] = []
    for prefix, group in by_prefix.items():
        most = min(len(group), limits.get(prefix, limits.get(OTHERS, len(group))))
        kept += [group[place] for place in np.linspace(0, len(group) - 1, most).round().astype(int)]
    return sorted(kept)


@app.command()
def main(
    folder: Annotated[
        Path, typer.Argument(help="A folder of videos or pictures.", exists=True, file_okay=False)
    ],
    output: Annotated[Path, typer.Argument(help="The list to write, which `prepare` takes as an input.")],
    most: Annotated[
        list[str] | None,
        typer.Option(metavar="PREFIX=NUMBER", help="The most files of a prefix; * is every other prefix."),
    ] = None,
) -> None:
    """List the files of a folder, at most so many of each prefix."""
    limits = {}
    for text in most or ():
        prefix, _, number = text.partition("=")
        if not prefix or not number.isdigit():
            raise typer.BadParameter(f"{text!r} is not PREFIX=NUMBER", param_hint="--most")
        limits[prefix] = int(number)
    names = [str(path.resolve()) for path in folder.iterdir() if path.is_file()]
    kept = choose(names, limits)
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as file:
        file.write("".join(f"{name}\n" for name in kept).encode())
    typer.echo(f"{output}: {len(kept)} of {len(names)} files")


if __name__ == "__main__":
    app()
