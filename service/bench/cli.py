"""`python -m service bench`: start a server, run a benchmark, print a table and write JSON."""

from __future__ import annotations

import asyncio
import json
import math
import platform
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer

from cvivit.tokenizer import VideoTokenizer
from service.bench import inputs
from service.bench.direct import OperationName
from service.bench.load import RequestKind
from service.bench.mixed import LONG_SECONDS, mixed
from service.bench.process import ServerProcess, serving
from service.bench.report import mixed_table, soak_table, throughput_table
from service.bench.soak import soak
from service.bench.throughput import one_clip_request, throughput

OPERATIONS: dict[str, Sequence[OperationName]] = {
    "encode": ("encode",),
    "decode": ("decode",),
    "both": ("encode", "decode"),
}

app = typer.Typer(
    help="Measure a real server process over loopback HTTP, with generated videos.",
    pretty_exceptions_enable=False,
    add_completion=False,
)


def _positive(seconds: float) -> float:
    if not 0 < seconds < math.inf:
        raise typer.BadParameter(f"{seconds} is not a positive number")
    return seconds


Clients = Annotated[int, typer.Option(min=1, help="Requests in progress at once.")]
Model = Annotated[
    str,
    typer.Option(
        help="`released`, `small` or `tiny`: random weights of that size; or as the service's --model."
    ),
]
Device = Annotated[str, typer.Option(help="As the service's --device.")]
PrecisionName = Annotated[
    Literal["auto", "exact", "fast"], typer.Option(help="As the service's --precision.")
]
Seconds = Annotated[float, typer.Option(callback=_positive, help="Length of each measurement.")]
Output = Annotated[Path | None, typer.Option(help="File for the report, as JSON.")]


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """What to serve, and where to write the report."""

    model: str
    device: str
    precision: Literal["auto", "exact", "fast"]
    output: Path | None


def run(arguments: Sequence[str]) -> int:
    """Run the command with `arguments`, and return its exit code.

    Raises:
        SystemExit: the arguments are wrong.
    """
    try:
        app(list(arguments), prog_name="python -m service bench")
    except SystemExit as end:
        if end.code:
            raise
    return 0


@app.command()
def load(
    operation: Annotated[Literal["encode", "decode", "both"], typer.Option(help="What to measure.")] = "both",
    clients: Clients = 32,
    seconds: Seconds = 90.0,
    height: Annotated[
        int, typer.Option(min=16, help="Height of the videos that are sent, 4:3 or, from 540 on, 16:9.")
    ] = inputs.VIDEO_SIZE[0],
    model: Model = "released",
    device: Device = "auto",
    precision: PrecisionName = "auto",
    output: Output = None,
) -> None:
    """Measure many clients that send one clip each, and compare them with the engine called directly."""

    async def measure(server: ServerProcess, tokenizer: VideoTokenizer) -> Any:
        return await throughput(
            server.url,
            tokenizer,
            OPERATIONS[operation],
            clients=clients,
            seconds=seconds,
            size=inputs.video_size(height),
        )

    served = ServedModel(model=model, device=device, precision=precision, output=output)
    _run("load", served, measure, throughput_table)


@app.command("mixed")
def mixed_command(
    clients: Clients = 4,
    seconds: Seconds = 90.0,
    model: Model = "released",
    device: Device = "auto",
    precision: PrecisionName = "auto",
    output: Output = None,
) -> None:
    """Measure requests of one clip, with and without a ten-minute video beside them."""

    async def measure(server: ServerProcess, tokenizer: VideoTokenizer) -> Any:
        encode, _ = one_clip_request(tokenizer, "encode")
        long_video = inputs.video(LONG_SECONDS)
        return await mixed(server.url, encode, long_video, clients=clients, seconds=seconds)

    served = ServedModel(model=model, device=device, precision=precision, output=output)
    _run("mixed", served, measure, mixed_table)


@app.command("soak")
def soak_command(
    requests: Annotated[int, typer.Option(min=1, help="Requests to send in all.")] = 10_000,
    clients: Clients = 8,
    model: Model = "small",
    device: Device = "auto",
    precision: PrecisionName = "auto",
    output: Output = None,
) -> None:
    """Measure the server's memory over thousands of requests."""

    async def measure(server: ServerProcess, tokenizer: VideoTokenizer) -> Any:
        kinds = _every_kind(tokenizer)
        return await soak(server, kinds, requests=requests, clients=clients)

    served = ServedModel(model=model, device=device, precision=precision, output=output)
    _run("soak", served, measure, soak_table)


def _every_kind(tokenizer: VideoTokenizer) -> list[RequestKind]:
    """Return a request of every kind that a server gets, good and bad."""
    encode, _ = one_clip_request(tokenizer, "encode")
    decode, _ = one_clip_request(tokenizer, "decode")
    return [
        encode,
        decode,
        RequestKind(path="/encode", body=encode.body, headers={"accept": "application/octet-stream"}),
        RequestKind(path="/encode", body=encode.body, headers={"accept": "application/x-ndjson"}),
        RequestKind(path="/decode", body=decode.body, headers={**decode.headers, "accept": "image/gif"}),
        RequestKind(path="/reconstruct", body=encode.body),
        RequestKind(path="/encode", body=b"not a video"),
        RequestKind(path="/decode", body=b'{"indices": [[[-1]]]}', headers=decode.headers),
    ]


def _run(
    name: str,
    served: ServedModel,
    measure: Callable[[ServerProcess, VideoTokenizer], Awaitable[Any]],
    table: Callable[[Any], str],
) -> None:
    """Start a server, measure it, print the result as a table and write the report."""
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(_report(name, served, measure, Path(folder)))
    print(table(report["result"]))
    if served.output is not None:
        served.output.write_text(json.dumps(report, indent=2) + "\n")


async def _report(
    name: str,
    served: ServedModel,
    measure: Callable[[ServerProcess, VideoTokenizer], Awaitable[Any]],
    folder: Path,
) -> dict[str, Any]:
    model = inputs.weights(served.model, folder / "weights")
    tokenizer = VideoTokenizer.from_pretrained(model, device=served.device, precision=served.precision)
    tokenizer.runner.warm_up()
    flags = ["--model", model, "--device", served.device, "--precision", served.precision]
    with serving(flags, log=folder / "server.log") as server:
        result = await measure(server, tokenizer)
    return {
        "benchmark": name,
        "model": served.model,
        "precision": tokenizer.runner.precision,
        "device": str(tokenizer.runner.device),
        "threads": torch.get_num_threads(),
        "machine": platform.platform(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "result": result,
    }
