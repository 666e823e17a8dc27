"""Time `cvivit encode` and `cvivit tokenize` against reading and the model, measured apart in the same run.

On a CPU both parts need the same cores, so the best rate is 1 / (1 / model + 1 / reading). On a GPU it is the
smaller of the two. What counts is the share of it that is reached: all of them take turns, so the machine's
load hits them alike.

    python benchmarks/bulk.py FILM.mp4 --folder /tmp/films
    python benchmarks/bulk.py FILM.mp4 --heights 720 --copies 300 --model obvious-research/phenaki-cvivit

`FILM.mp4` is coded anew in each size, two clips long, and the folder holds so many copies of it. The commands
`encode` and `tokenize` are timed as processes of their own, with what they take to start, and "pipeline" is
what both do, without. `--ray` times the same pipeline on a Ray of this machine, from the first result to the
last, because its actors take some ten seconds to start.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.reading import make_film  # noqa: E402 - it lies beside this file

HEIGHTS: Final = (360, 720, 1080)


def clips_per_second(work: Callable[[], int]) -> float:
    """Return how many clips `work`, which returns their number, does in a second."""
    began = time.perf_counter()
    clips = work()
    return clips / (time.perf_counter() - began)


def read_only(tokenizer: Any, sources: list[Any], readers: int | None) -> int:
    """Read all sources as `encode_sources` does, and drop their clips."""
    from cvivit.bulk.options import ReadOptions, reader_count
    from cvivit.bulk.pool import Clip, Pool

    options = ReadOptions()
    count = reader_count(readers)
    pool = Pool(iter(sources), options.clip_format(tokenizer.config), options, readers=count)
    pool.let_readers_run_ahead()
    clips = 0
    try:
        while not (pool.exhausted and pool.idle) or not pool.readers:
            pool.dispatch()
            clips += sum(isinstance(event, Clip) for event in pool.poll(1.0))
    finally:
        pool.close()
    return clips


def compute_only(tokenizer: Any, source: Any, count: int) -> int:
    """Encode clips that are in memory, in the batches that `encode_sources` makes."""
    import numpy as np

    from cvivit.bulk.work import CLIPS_A_TURN
    from cvivit.video import ClipFormat, read_clips

    clips = np.stack(list(read_clips(source.location, ClipFormat.of(tokenizer.config))))
    size = max(*tokenizer.runner.batch_sizes, CLIPS_A_TURN)
    batch = np.resize(clips, (size, *clips.shape[1:]))
    done = 0
    while done < count:
        tokenizer.encode_clips(batch)
        done += size
    return done


def pipeline(tokenizer: Any, sources: list[Any], readers: int | None) -> int:
    """Read and encode all sources."""
    from cvivit.bulk import EncodedSource, encode_sources

    results = encode_sources(tokenizer, sources, readers=readers)
    return sum(len(result.indices) for result in results if isinstance(result, EncodedSource))


def on_ray(tokenizer: Any, sources: list[Any], readers: int | None) -> float:
    """Return the clips a second of the pipeline on Ray, from its first result to its last."""
    from cvivit.bulk import EncodedSource, ReadOptions
    from cvivit.tokenizing.ray.cluster import connected, plan_actors
    from cvivit.tokenizing.ray.encoding import EncodeOnRay
    from cvivit.weights import load_weights

    with connected("local"):
        actors = plan_actors(tokenizer.device.type, readers)
        weights = load_weights(tokenizer.name)
        encode = EncodeOnRay(weights, tokenizer.precision, actors, print)
        results = encode(sources, ReadOptions(), progress=lambda _: None)
        moments = [
            (time.perf_counter(), len(result.indices))
            for result in results
            if isinstance(result, EncodedSource)
        ]
    # Results come in batches. What came with the first one was made before the clock began.
    first = sum(clips for moment, clips in moments if moment - moments[0][0] < 0.1)
    return (sum(clips for _, clips in moments) - first) / (moments[-1][0] - moments[0][0])


def command(name: str, folder: Path, options: argparse.Namespace) -> int:
    """Run `cvivit encode` or `cvivit tokenize` on a folder, as a process of its own."""
    with tempfile.TemporaryDirectory() as out:
        arguments = [name, str(folder), f"{out}/", "--json", "--model", options.model]
        arguments += ["--device", options.device, "--precision", options.precision]
        if options.readers:
            arguments += ["--readers", str(options.readers)]
        run = subprocess.run(  # noqa: S603 - the command is ours
            [sys.executable, "-m", "cvivit", *arguments], capture_output=True, text=True, cwd=ROOT, check=True
        )
        said = json.loads(run.stdout)
        return int(said["clips"] if name == "encode" else said["counts"]["windows"])


def films(options: argparse.Namespace, height: int) -> Path:
    """Return a folder with copies of the film of this height."""
    options.folder.mkdir(parents=True, exist_ok=True)
    film = options.folder / f"h264-{height}.mp4"
    if not film.exists():
        make_film(options.film, film, "H.264", height)
    folder = options.folder / f"{height}p"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number in range(options.copies):
        shutil.copy(film, folder / f"{number:06}.mp4")
    return folder


def measure(tokenizer: Any, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """Return the median rates of all four, which take turns, and the shares of the best rate."""
    from cvivit.inputs import find_sources

    sources = find_sources([str(folder)])
    parts: dict[str, Callable[[], int]] = {
        "reading": lambda: read_only(tokenizer, sources, options.readers),
        "model": lambda: compute_only(tokenizer, sources[0], 2 * len(sources)),
        "pipeline": lambda: pipeline(tokenizer, sources, options.readers),
        "encode": lambda: command("encode", folder, options),
        "tokenize": lambda: command("tokenize", folder, options),
    }
    rates: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(options.repeats):
        for name, work in parts.items():
            rates[name].append(clips_per_second(work))
        if options.ray:
            rates.setdefault("ray", []).append(on_ray(tokenizer, sources, options.readers))
    row = {name: statistics.median(found) for name, found in rates.items()}
    if tokenizer.device.type == "cpu":
        best = 1 / (1 / row["model"] + 1 / row["reading"])
    else:
        best = min(row["model"], row["reading"])
    whole = [name for name in ("pipeline", "encode", "tokenize", "ray") if name in row]
    return row | {"best": best} | {f"{name}_share": row[name] / best for name in whole}


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("film", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("build/films"))
    parser.add_argument("--heights", type=int, nargs="+", default=list(HEIGHTS))
    parser.add_argument("--copies", type=int, default=100, help="videos in a folder, of two clips each")
    parser.add_argument("--repeats", type=int, default=3, help="rounds, of which the median counts")
    parser.add_argument("--readers", type=int)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="exact")
    parser.add_argument("--ray", action="store_true", help="time Ray Data on this machine, too")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    from cvivit import VideoTokenizer

    tokenizer = VideoTokenizer.from_pretrained(
        options.model, device=options.device, precision=options.precision
    )
    tokenizer.runner.warm_up()
    rows = {height: measure(tokenizer, films(options, height), options) for height in options.heights}
    if options.json:
        print(json.dumps(rows, indent=2))  # noqa: T201
        return
    names = list(next(iter(rows.values())))
    print(f"{'clips/s':<8}" + "".join(f"{name:>16}" for name in names))  # noqa: T201
    for height, row in rows.items():
        cells = (f"{row[name]:>16.0%}" if "share" in name else f"{row[name]:>16.2f}" for name in names)
        print(f"{height}p".ljust(8) + "".join(cells))  # noqa: T201


if __name__ == "__main__":
    main()
