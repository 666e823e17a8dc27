"""Time what reading a video costs, for each codec and size, beside other ways to do the same work.

All readers give the same pictures of a video: eight a second, the centre cropped to a square, 128 x 128. Each
run is a process of its own on one thread, all readers take turns, and what counts is the CPU time of a clip
of 11 pictures, with the opening of the file. The machine's load then hits all alike; quote the ratios.

    python benchmarks/reading.py FILM.mp4 --folder /tmp/films
    python benchmarks/reading.py FILM.mp4 --before ../old-checkout --torchcodec ../venv/bin/python

`FILM.mp4` is coded anew in every codec and size. `--torchcodec` names a Python with torchcodec and FFmpeg;
`--before` is a checkout whose reader is timed as well. Videos named with `--as-is` are timed as they are.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

FPS: Final = 8
CLIP_FRAMES: Final = 11
SIDE: Final = 128
SECONDS: Final = 2 * CLIP_FRAMES / FPS
"""Length of the videos: two clips."""
HEIGHTS: Final = (360, 720, 1080, 2160)
CODECS: Final = {
    "H.264": ("libx264", "mp4", "yuv420p", {"preset": "fast", "crf": "22"}),
    "HEVC": ("libx265", "mp4", "yuv420p", {"preset": "fast", "crf": "24", "x265-params": "log-level=none"}),
    "VP9": (
        "libvpx-vp9",
        "webm",
        "yuv420p",
        {"deadline": "realtime", "cpu-used": "6", "crf": "32", "b": "0"},
    ),
    "AV1": ("libsvtav1", "mp4", "yuv420p", {"preset": "10", "crf": "32"}),
    "MPEG-2": ("mpeg2video", "ts", "yuv420p", {"qmin": "4", "qmax": "6", "bf": "2"}),
    "ProRes": ("prores_ks", "mov", "yuv422p10le", {"profile": "2"}),
}
"""FFmpeg's encoder, the suffix of its file, its pixel format and its options."""
MUXERS: Final = {"ts": "mpegts", "webm": "webm", "mp4": "mp4", "mov": "mov"}


def make_film(source: Path, target: Path, codec: str, height: int) -> None:
    """Code the beginning of a video in another codec and size."""
    import av

    from training.scheduling import keep_scheduling

    encoder, suffix, pixel_format, options = CODECS[codec]
    part = target.with_suffix(".part")
    with (
        keep_scheduling(),
        av.open(str(source)) as film,
        av.open(str(part), "w", format=MUXERS[suffix]) as output,
    ):
        video = film.streams.video[0]
        width = round(height * video.width / video.height / 2) * 2
        stream: Any = output.add_stream(encoder, rate=Fraction(30))
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.options = options
        for count, frame in enumerate(film.decode(video)):
            if count >= SECONDS * 30:
                break
            scaled = frame.reformat(width=width, height=height, format=pixel_format)
            scaled.pts, scaled.time_base, scaled.pict_type = count, Fraction(1, 30), 0
            output.mux(stream.encode(scaled))
        output.mux(stream.encode(None))
    part.rename(target)


def read_ours(path: str) -> float:
    """Read a video with this library."""
    from cvivit.video import read_clips

    with read_clips(path, threads=1) as clips:
        for _ in clips:
            pass
        return clips.frames


def decode_bare(path: str) -> float:
    """Decode every frame of a video with PyAV, and do nothing with them."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        end = 0.0
        for frame in container.decode(stream):
            end = (frame.time or 0.0) - (stream.start_time or 0) * float(stream.time_base or 0)
            end += float(frame.duration * (frame.time_base or 0))
        return end * FPS


def read_plainly(path: str) -> float:
    """Read a video as most programs do: PyAV, `to_ndarray`, a crop and a resize of Pillow."""
    import av
    from PIL import Image

    pictures, tick = 0, 0
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_type, stream.codec_context.thread_count = "NONE", 1
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        for frame in container.decode(stream):
            if (frame.time or 0.0) - start + 1e-6 < tick / FPS:
                continue
            tick += 1
            image = Image.fromarray(frame.to_ndarray(format="rgb24", threads=1))
            margin = (image.width - image.height) / 2
            box = (margin, 0, image.width - margin, image.height)
            image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
            pictures += 1
    return pictures


def read_torchcodec(path: str) -> float:
    """Read a video with torchcodec, which crops and resizes within its decoder."""
    import torch
    from torchcodec.decoders import VideoDecoder  # type: ignore[import-not-found,unused-ignore]
    from torchcodec.transforms import CenterCrop, Resize  # type: ignore[import-not-found,unused-ignore]

    torch.set_num_threads(1)
    side = VideoDecoder(path, num_ffmpeg_threads=1, seek_mode="approximate").metadata.height
    decoder = VideoDecoder(
        path,
        num_ffmpeg_threads=1,
        seek_mode="approximate",
        transforms=[CenterCrop((side, side)), Resize((SIDE, SIDE))],
    )
    first, last = decoder.metadata.begin_stream_seconds, decoder.metadata.end_stream_seconds
    times = [first + tick / FPS for tick in range(int((last - first) * FPS))]
    frames = decoder.get_frames_played_at(seconds=times)
    assert tuple(frames.data.shape[1:]) == (3, SIDE, SIDE)
    return len(times)


READERS: Final[dict[str, Callable[[str], float]]] = {
    "bare": decode_bare,
    "ours": read_ours,
    "before": read_ours,
    "plain": read_plainly,
    "torchcodec": read_torchcodec,
}
"""Each returns the pictures that it read, or those that lie within what it decoded."""


def time_here(reader: str, path: str) -> float:
    """Return the milliseconds of CPU time that a clip costs, after one run that loads the libraries."""
    read = READERS[reader]
    read(path)
    before = resource.getrusage(resource.RUSAGE_SELF)
    pictures = read(path)
    after = resource.getrusage(resource.RUSAGE_SELF)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1000 * spent * CLIP_FRAMES / pictures


def time_apart(reader: str, path: Path, options: argparse.Namespace) -> float:
    """Return what `time_here` returns in a process of its own."""
    python = options.torchcodec if reader == "torchcodec" else sys.executable
    root = options.before if reader == "before" else Path(__file__).resolve().parents[1]
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    command = [str(python), __file__, "--worker", reader, str(path)]
    run = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)  # noqa: S603
    return float(run.stdout) if run.returncode == 0 else float("nan")


def films(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Yield the videos to time, with their names, and make those that are not there yet."""
    for path in options.as_is:
        yield path.name, path
    if options.film is None:
        return
    options.folder.mkdir(parents=True, exist_ok=True)
    for height in options.heights:
        for codec in options.codecs:
            path = options.folder / f"{codec.lower().replace('.', '')}-{height}.{CODECS[codec][1]}"
            if not path.exists():
                make_film(options.film, path, codec, height)
            yield f"{codec} {height}p", path


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("film", type=Path, nargs="?")
    parser.add_argument("--folder", type=Path, default=Path("build/films"))
    parser.add_argument("--as-is", type=Path, nargs="*", default=[])
    parser.add_argument("--before", type=Path)
    parser.add_argument("--torchcodec", type=Path)
    parser.add_argument("--codecs", nargs="*", default=list(CODECS), choices=list(CODECS))
    parser.add_argument("--heights", nargs="*", type=int, default=list(HEIGHTS))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", nargs=2, metavar=("READER", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.stdout.write(str(time_here(*options.worker)))
        return
    readers = [
        "bare",
        "ours",
        *(name for name in ("before", "torchcodec") if getattr(options, name)),
        "plain",
    ]
    columns = ["video", *readers, "ours / bare"]
    sys.stdout.write(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n")
    for name, path in films(options):
        times: dict[str, list[float]] = {reader: [] for reader in readers}
        for _ in range(options.repeats):
            for reader in readers:
                times[reader].append(time_apart(reader, path, options))
        medians = {reader: statistics.median(values) for reader, values in times.items()}
        cells = [f"{medians[reader]:.1f}" for reader in readers]
        sys.stdout.write(f"| {name} | {' | '.join(cells)} | {medians['ours'] / medians['bare']:.2f} |\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
