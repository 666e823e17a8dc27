"""`python -m service bench`: choose a benchmark, start a server, measure, print a table and write JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from cvivit.tokenizer import VideoTokenizer
from service.bench import inputs
from service.bench.direct import OperationName
from service.bench.load import Call
from service.bench.mixed import LONG_SECONDS, mixed
from service.bench.process import ServerProcess, serving
from service.bench.report import mixed_table, soak_table, throughput_table
from service.bench.soak import soak
from service.bench.throughput import one_clip_call, throughput

OPERATIONS: dict[str, Sequence[OperationName]] = {
    "encode": ("encode",),
    "decode": ("decode",),
    "both": ("encode", "decode"),
}
TABLES: dict[str, Callable[[Any], str]] = {"load": throughput_table, "mixed": mixed_table, "soak": soak_table}


def main(arguments: Sequence[str]) -> int:
    """Run the command with `arguments` and return its exit code."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        report = asyncio.run(_benchmark(options, Path(folder)))
    print(TABLES[options.benchmark](report["result"]))
    if options.output is not None:
        options.output.write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m service bench",
        description="Measure a real server process over loopback HTTP. Everything it sends is made up.",
    )
    commands = parser.add_subparsers(dest="benchmark", required=True)
    load = commands.add_parser("load", help="many clients of one clip, next to the engine called directly")
    load.add_argument("--operation", choices=OPERATIONS, default="both")
    beside = commands.add_parser("mixed", help="one ten-minute video among requests of one clip")
    long_soak = commands.add_parser("soak", help="memory over thousands of requests")
    long_soak.add_argument("--requests", type=_positive_int, default=10_000)
    for command, clients in ((load, 32), (beside, 4), (long_soak, 8)):
        command.add_argument(
            "--clients", type=_positive_int, default=clients, help="requests under way at once"
        )
        command.add_argument(
            "--model",
            default="released" if command is not long_soak else "small",
            help="`released`, `small` or `tiny`: random weights of that size; or as the service's --model",
        )
        command.add_argument("--device", default="auto")
        command.add_argument("--precision", choices=("auto", "exact", "fast"), default="auto")
        command.add_argument("--output", type=Path, help="file for the JSON report")
    for command in (load, beside):
        command.add_argument(
            "--seconds", type=_positive_float, default=90.0, help="length of each measurement"
        )
    return parser


async def _benchmark(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    model = inputs.weights(options.model, folder / "weights")
    tokenizer = VideoTokenizer.from_pretrained(model, device=options.device, precision=options.precision)
    tokenizer.runner.warm_up()
    flags = ["--model", model, "--device", options.device, "--precision", options.precision]
    with serving(flags, log=folder / "server.log") as server:
        result = await _measure(options, server, tokenizer)
    return {
        "benchmark": options.benchmark,
        "model": options.model,
        "precision": tokenizer.runner.precision,
        "device": str(tokenizer.runner.device),
        "threads": torch.get_num_threads(),
        "machine": platform.platform(),
        "python": sys.version.split()[0],
        "torch": torch.__version__,
        "result": result,
    }


async def _measure(options: argparse.Namespace, server: ServerProcess, tokenizer: VideoTokenizer) -> Any:
    encode, _ = one_clip_call(tokenizer, "encode")
    if options.benchmark == "load":
        return await throughput(
            server.url,
            tokenizer,
            OPERATIONS[options.operation],
            clients=options.clients,
            seconds=options.seconds,
        )
    if options.benchmark == "mixed":
        long_video = inputs.video(LONG_SECONDS)
        return await mixed(server.url, encode, long_video, clients=options.clients, seconds=options.seconds)
    decode, _ = one_clip_call(tokenizer, "decode")
    calls = [
        encode,
        decode,
        Call(path="/encode", body=encode.body, headers={"accept": "application/octet-stream"}),
        Call(path="/encode", body=encode.body, headers={"accept": "application/x-ndjson"}),
        Call(path="/decode", body=decode.body, headers={**decode.headers, "accept": "image/gif"}),
        Call(path="/reconstruct", body=encode.body),
        Call(path="/encode", body=b"not a video"),
        Call(path="/decode", body=b'{"indices": [[[-1]]]}', headers=decode.headers),
    ]
    return await soak(server, calls, requests=options.requests, clients=options.clients)


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not positive")
    return value


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return value
