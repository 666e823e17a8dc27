"""Draw the log of a run: its losses and learning rate over the steps, and the figures of validation.

::

    python -m training.demonstration.curve runs/demo/log.jsonl curve.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.run.tracking.step_log import StepRecord, read_log

PANELS = {
    "reconstruction": "mean squared error",
    "lpips": "LPIPS",
    "perplexity": "codebook perplexity of a step",
    "learning_rate": "learning rate",
}
VALIDATION = {"reconstruction": "validation_psnr", "lpips": "validation_lpips"}
"""The figure of validation that is drawn beside a loss. PSNR is drawn as the squared error it stands for."""
SMOOTHING_STEPS = 25

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def draw(records: Sequence[StepRecord], path: Path) -> None:
    """Write the picture as PNG.

    Raises:
        ValueError: the log is empty.
        OSError: the file cannot be written.
    """
    if not records:
        raise ValueError("the log holds no step")
    figure = Figure(figsize=(10, 6), layout="constrained")
    for panel, (name, label) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        steps, values = _series(records, name)
        panel.plot(steps, values, color="0.8", linewidth=0.6)
        panel.plot(steps, _smoothed(values), label="training")
        found, measured = _series(records, VALIDATION.get(name, ""))
        if len(found):
            panel.plot(
                found,
                10 ** (-measured / 10) if name == "reconstruction" else measured,
                "o-",
                label="held out",
            )
            panel.legend()
        panel.set_yscale("log" if name == "reconstruction" else "linear")
        panel.set_xlabel("optimizer step")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    FigureCanvasAgg(figure).print_figure(path, dpi=100, format="png")


def _series(records: Sequence[StepRecord], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps whose records hold a figure, and the values of that figure."""
    pairs = [(record["step"], record[name]) for record in records if name in record]
    steps, values = np.array(pairs, dtype=float).reshape(-1, 2).T
    return steps, values


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Return the mean of each value and the values before it, over SMOOTHING_STEPS values at most."""
    sums = np.concatenate(([0.0], np.cumsum(values)))
    ends = np.arange(1, len(sums))
    starts = np.maximum(ends - SMOOTHING_STEPS, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


@app.command()
def main(
    log: Annotated[Path, typer.Argument(help="The log.jsonl of a run.")],
    picture: Annotated[Path, typer.Argument(help="The PNG file to write.")],
) -> None:
    """Draw the losses, the codebook's use and the learning rate of a run over its steps."""
    try:
        draw(read_log(log), picture)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="LOG") from None
    typer.echo(f"Written to {picture}.")


if __name__ == "__main__":
    app()
