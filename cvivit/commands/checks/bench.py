"""`cvivit bench` measures how fast this machine encodes and decodes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cvivit.commands.common import DeviceOption, JsonOption, progress_bar

if TYPE_CHECKING:
    from cvivit.runtime.precision import Precision

Size = Literal["released", "demo"]

DEFAULT_BATCHES = (1, 4)


def bench(
    size: Annotated[
        Size, typer.Option(help="The size of the network to time. Its weights are random.")
    ] = "released",
    device: DeviceOption = "auto",
    precision: Annotated[
        Literal["auto", "exact", "fast"],
        typer.Option(help="exact is float32, fast is bfloat16, and auto times both."),
    ] = "auto",
    batch: Annotated[
        list[int] | None,
        typer.Option(min=1, help="How many clips to hand over at once. Repeatable.", show_default="1 and 4"),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How many timings to take the median of.")] = 7,
    published: Annotated[bool, typer.Option(help="Also time the network as it was published.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Time encode and decode of a network, in each precision and batch size.

    Beside each time is its share of the rate at which this machine multiplies large matrices. The network has
    the size of the released one, or with `--size demo` that of the smaller one that comes with this package.
    The weights are random, because their values do not change the speed, so nothing is downloaded.
    """
    import torch

    from cvivit.config import CViViTConfig
    from cvivit.network import CViViT
    from cvivit.runtime.speed import benchmark, table

    torch.manual_seed(0)
    network = CViViT(CViViTConfig.released() if size == "released" else CViViTConfig.demo())
    precisions: tuple[Precision, ...] = ("exact", "fast") if precision == "auto" else (precision,)
    with progress_bar(f"timing the {size} size") as progress:
        report = {"size": size} | benchmark(
            network,
            device=device,
            precisions=precisions,
            batches=tuple(batch or DEFAULT_BATCHES),
            repeats=repeats,
            published=published,
            progress=progress,
        )
    heading = f"The network of the {size} size, with random weights"
    print(json.dumps(report, indent=2) if as_json else f"{heading}\n{table(report)}")
