"""Writing: files that play everywhere, appear whole, and read back as they were."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from cvivit.video import ClipFormat, VideoContainer, encode_video, read_frames, write_video
from tests.videos import grey, index_of, staircase

KINDS: list[VideoContainer] = ["mp4", "webm", "gif"]


def gradient(frames: int, height: int = 64, width: int = 96) -> np.ndarray:
    """A smooth colourful video (t h w 3)."""
    t, y, x = np.meshgrid(
        np.linspace(0, 1, frames), np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij"
    )
    return (np.stack([x, y, (1 - x) * (0.3 + 0.7 * t)], -1) * 255).astype(np.uint8)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / ((one.astype(float) - other) ** 2).mean()))


@pytest.mark.parametrize("fps", [1, 6, 8, 12.5, 30000 / 1001, 50])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(kind: VideoContainer, fps: float) -> None:
    video = gradient(17)
    data = encode_video(video, fps=fps, container=kind)
    back = np.stack(list(read_frames(data, ClipFormat(image_size=(64, 96), fps=fps))))
    assert back.shape == video.shape
    assert psnr(back, video) > (30 if kind == "gif" else 34)  # 256 colours are not enough for this
    assert np.abs((back.astype(float) - video).mean((0, 1, 2))).max() < 2


@pytest.mark.parametrize(("kind", "finest"), [("mp4", 0), ("webm", 4)])
def test_the_rate_factor_trades_size_for_quality(kind: VideoContainer, finest: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (5, 64, 96, 3), dtype=np.uint8)
    sizes = [len(encode_video(noise, fps=8, container=kind, crf=crf)) for crf in (finest, 20, 40)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 2 * sizes[2]


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("kind", KINDS)
def test_every_number_of_frames(kind: VideoContainer, count: int) -> None:
    data = encode_video(staircase(count), fps=8, container=kind)
    pictures = read_frames(data, ClipFormat(image_size=(64, 64)))
    assert np.allclose([index_of(picture) for picture in pictures], range(count), atol=1)


@pytest.mark.parametrize(("kind", "even"), [("mp4", True), ("webm", True), ("gif", False)])
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (64, 31)])
def test_odd_sizes(kind: VideoContainer, even: bool, size: tuple[int, int]) -> None:
    data = encode_video([grey(90, *size)] * 3, fps=8, container=kind)
    with av.open(io.BytesIO(data), "r") as file:
        frame = next(file.decode(video=0))
    assert (frame.height, frame.width) == (tuple(side + side % 2 for side in size) if even else size)
    assert abs(int(next(read_frames(data, ClipFormat(image_size=size)))[0, 0, 0]) - 90) <= 2


def test_mp4_is_for_browsers() -> None:
    data = encode_video(gradient(5), fps=8)
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data), "r") as file:
        stream = file.streams.video[0]
        frame = next(file.decode(video=0))
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == 8
    assert frame.format.name == "yuv420p"
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (1, 1, 1, 1)


def test_webm_is_vp9_that_names_its_colours() -> None:
    with av.open(io.BytesIO(encode_video(gradient(5), fps=8, container="webm")), "r") as file:
        frame = next(file.decode(video=0))
        assert file.streams.video[0].codec_context.name in ("vp9", "libvpx-vp9")
    assert (frame.colorspace, frame.color_range) == (1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_frames_give_the_same_bytes(kind: VideoContainer) -> None:
    video = gradient(9)
    assert encode_video(video, fps=8, container=kind) == encode_video(iter(video), fps=8, container=kind)


def test_a_gif_leaves_out_what_it_cannot_show() -> None:
    data = encode_video(staircase(60), fps=100, container="gif")
    with av.open(io.BytesIO(data), "r") as file:
        assert len(list(file.decode(video=0))) == 30
    assert len(list(read_frames(data, ClipFormat(fps=100, image_size=(8, 8))))) == 60


@pytest.mark.parametrize("kind", KINDS)
def test_the_suffix_tells_the_container(kind: VideoContainer, tmp_path: Path) -> None:
    path = tmp_path / f"http: odd %s name.{kind.upper()}"
    write_video(staircase(3), path, fps=8)
    assert path.read_bytes() == encode_video(staircase(3), fps=8, container=kind)
    assert os.listdir(tmp_path) == [path.name]


def test_a_path_is_replaced_only_by_a_whole_video(tmp_path: Path) -> None:
    def failing() -> Iterator[np.ndarray]:
        yield grey(1)
        raise RuntimeError("halfway")

    path = tmp_path / "video.mp4"
    path.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="halfway"):
        write_video(failing(), path, fps=8)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["video.mp4"]


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_video([grey(1)], tmp_path / "none" / "video.mp4", fps=8)


@pytest.mark.parametrize("fps", [0, -1, float("nan"), float("inf"), 1e6, 1e-9, 0.009])
def test_a_rate_that_is_none(fps: float) -> None:
    with pytest.raises(ValueError, match="fps"):
        encode_video([grey(1)], fps=fps)


@pytest.mark.parametrize(
    "frames",
    [[], [grey(1).astype(np.float32)], [grey(1)[..., 0]], [grey(1), grey(1, 32, 32)], [grey(1)[:0]], [None]],
    ids=["none", "floats", "no channels", "two sizes", "no rows", "no array"],
)
def test_frames_that_are_none(frames: list[Any]) -> None:
    with pytest.raises(ValueError, match="frame"):
        encode_video(frames, fps=8)


def test_a_container_that_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="container"):
        write_video([grey(1)], tmp_path / "video.mkv", fps=8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_slowest_rate(kind: VideoContainer) -> None:
    data = encode_video(staircase(2), fps=0.01, container=kind)
    assert len(list(read_frames(data, ClipFormat(image_size=(64, 64), fps=0.01)))) == 2


@pytest.mark.parametrize(("kind", "crf"), [("mp4", -1), ("mp4", 52), ("webm", -1), ("webm", 64)])
def test_a_rate_factor_that_the_encoder_does_not_have(kind: VideoContainer, crf: int) -> None:
    with pytest.raises(ValueError, match="crf"):
        encode_video([grey(1)], fps=8, container=kind, crf=crf)


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_frames_that_are_too_large_for_the_container(kind: VideoContainer) -> None:
    with pytest.raises(ValueError, match=f"2x70000 cannot be written as {kind}"):
        encode_video([np.zeros((2, 70_000, 3), np.uint8)], fps=8, container=kind)


def test_a_pipe_is_written_to_and_stays(tmp_path: Path) -> None:
    pipe = tmp_path / "video.gif"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_video(staircase(2), pipe, fps=8)
    assert os.read(reader, 60_000) == encode_video(staircase(2), fps=8, container="gif")
    os.close(reader)
    assert pipe.is_fifo()


def test_the_longest_name(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".gif")
    write_video([grey(1)], path, fps=8)
    assert path.exists()


def test_an_error_names_the_path_that_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "none" / "video.mp4"
    with pytest.raises(FileNotFoundError) as error:
        write_video([grey(1)], path, fps=8)
    assert error.value.filename == str(path)


@pytest.mark.parametrize("count", [1, 5])
def test_webp_moves(count: int) -> None:
    """Our own reader does not read WebP, so Pillow reads it here."""
    pictures = np.repeat((np.arange(count, dtype=np.uint8) * 40)[:, None, None, None], 3, axis=3)
    pictures = np.broadcast_to(pictures, (count, 33, 47, 3))
    data = encode_video(pictures, fps=8, container="webp")
    assert data == encode_video(pictures, fps=8, container="webp")
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size, getattr(image, "n_frames", 1)) == ("WEBP", (47, 33), count)
        for index in range(count):
            image.seek(index)
            assert np.abs(np.asarray(image.convert("RGB")).astype(int) - pictures[index]).max() <= 3
            if count > 1:
                assert image.info["duration"] == 125
