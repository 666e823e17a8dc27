"""`cvivit tokens` looks into token datasets: `cvivit tokens stats` measures one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cvivit.commands.common import JsonOption, check_paths, local_input, local_output, report_written

if TYPE_CHECKING:
    from cvivit.tokens.datasets.stats import TokenStats

tokens = typer.Typer(help="Look into token datasets.", no_args_is_help=True)


@tokens.callback()
def _group() -> None:
    """Look into token datasets."""


@tokens.command()
def stats(
    dataset: Annotated[
        Path, typer.Argument(callback=local_input, help="The folder that `cvivit tokenize` wrote.")
    ],
    plot: Annotated[
        Path | None,
        typer.Option("--plot", callback=local_output, help="Draw the figures, as a .png file."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Compare the checksums of all files first.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a token dataset: codes used, perplexity, entropy per place and time, and duplicates."""
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise typer.BadParameter("plots are written as .png", param_hint="--plot")
        check_paths(dataset, plot)
    from cvivit.tokens import TokenDataset
    from cvivit.tokens.datasets.stats import measure

    found = measure(TokenDataset(dataset, check=check))
    print(json.dumps(found.as_dict()) if as_json else _as_text(found))
    if plot is not None:
        from cvivit.tokens.datasets.plot import plot as draw

        draw(found, plot)
        report_written(plot, "a plot of codes and entropies")


def _as_text(found: TokenStats) -> str:
    places = [bits for row in found.entropy_by_place for bits in row]
    times = ", ".join(f"{bits:.2f}" for bits in found.entropy_by_time)
    return "\n".join(
        (
            f"samples          {found.samples}, {found.samples_with_caption} with a caption",
            f"windows          {found.windows}, {found.tokens} tokens",
            f"codes used       {found.codes_used} of {found.codebook_size}",
            f"perplexity       {found.perplexity:.1f}",
            f"entropy          {found.entropy:.2f} bits per token",
            f"  by time (T)    {times}",
            f"  by place (HW)  {min(places):.2f} to {max(places):.2f}",
            f"duplicates       {found.duplicate_windows} windows, {found.duplicate_samples} samples",
        )
    )
