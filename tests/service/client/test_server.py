"""The client with the real server gives the library's results and errors, for encoding and decoding."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from cvivit import TokenGrid, VideoTokenizer
from cvivit.errors import (
    CorruptVideoError,
    CViViTError,
    ModelMismatchError,
    UnsupportedMediaError,
    VideoTooLargeError,
)
from service.client import ClientError, ProblemError
from service.errors import EmptyBodyError, UnauthorizedError
from tests.service.client.conftest import Awaited
from tests.service.conftest import Served, served

KINDS = ["path", "string", "bytes", "bytearray", "file", "position", "memory", "list", "iterator", "pipe"]


def source_of(kind: str, video: bytes, folder: Path) -> Any:
    path = folder / "clip.mp4"
    path.write_bytes(video)
    if kind == "pipe":
        reader, writer = os.pipe()
        os.write(writer, video)
        os.close(writer)
        return open(reader, "rb")
    if kind == "position":
        file = io.BytesIO(b"before" + video)
        file.seek(6)
        return file
    if kind == "file":
        return path.open("rb")
    pieces = [video[:100], video[100:]]
    return {
        "path": path,
        "string": str(path),
        "bytes": video,
        "bytearray": bytearray(video),
        "memory": io.BytesIO(video),
        "list": pieces,
        "iterator": iter(pieces),
    }[kind]


@pytest.fixture(scope="module")
def server(tokenizer: VideoTokenizer) -> Iterator[Served]:
    with served(tokenizer) as server:
        yield server


@pytest.fixture
def client(connect: Callable[..., Any], server: Served) -> Any:
    return connect(server.url)


@pytest.mark.parametrize("kind", KINDS)
def test_encode_is_that_of_the_library(
    client: Any, tokenizer: VideoTokenizer, video: bytes, tmp_path: Path, kind: str
) -> None:
    assert len(video) < 65536  # what a pipe takes at once
    source = source_of(kind, video, tmp_path)
    told: list[tuple[int, int | None]] = []
    try:
        grid = client.encode(source, progress=lambda sent, size: told.append((sent, size)))
    finally:
        if hasattr(source, "close"):
            source.close()
    assert grid == tokenizer.encode(video)
    sizes = {None} if kind in ("list", "iterator", "pipe") else {len(video)}
    assert {size for _, size in told} == sizes
    assert [sent for sent, _ in told] == sorted({sent for sent, _ in told})
    assert told[-1][0] == len(video)


def test_an_asynchronous_iterable_is_sent(server: Served, video: bytes) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield video[:100]
        yield video[100:]

    with Awaited(server.url) as client:
        assert client.encode(pieces()) == client.encode(video)


def test_parts_and_fits_are_those_of_the_library(
    client: Any, tokenizer: VideoTokenizer, video: bytes
) -> None:
    arguments: dict[str, Any] = {"fit": "pad", "start": 0.25, "seconds": 0.75}
    expected = tokenizer.encode(video, **arguments)
    assert client.encode(video, **arguments) == expected
    stream = client.encode_stream(video, **arguments)
    assert np.array_equal(np.stack(list(stream)), expected.indices)
    assert stream.summary.frames == expected.frames


def test_decode_is_that_of_the_library(client: Any, tokenizer: VideoTokenizer, video: bytes) -> None:
    grid = tokenizer.encode(video)
    frames = client.decode(grid)
    assert (frames.dtype, frames.flags.writeable) == (np.uint8, True)
    assert np.array_equal(frames, tokenizer.decode(grid))


@pytest.mark.parametrize(
    ("name", "format_name"), [("a.mp4", "mov,mp4"), ("a.WEBM", "matroska"), ("a.gif", "gif")]
)
def test_decode_to_a_path(
    client: Any, tokenizer: VideoTokenizer, video: bytes, tmp_path: Path, name: str, format_name: str
) -> None:
    client.decode_to(tokenizer.encode(video), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with av.open(str(tmp_path / name), "r") as container:
        assert container.format.name.startswith(format_name)
        assert len(list(container.decode(video=0))) == 12


def test_decode_to_a_file_object_and_other_forms(
    client: Any, tokenizer: VideoTokenizer, video: bytes, tmp_path: Path
) -> None:
    grid = tokenizer.encode(video)
    file = io.BytesIO()
    client.decode_to(grid, file)
    assert file.getvalue()[4:8] == b"ftyp"
    client.decode_to(grid, str(tmp_path / "clips.zip"))
    assert len(zipfile.ZipFile(tmp_path / "clips.zip").namelist()) == 3
    client.decode_to(grid, tmp_path / "pixels", form="npy")
    assert np.load(tmp_path / "pixels").shape == (12, 32, 32, 3)


def test_decode_to_what_is_not_known_sends_nothing(client: Any, video: bytes, tmp_path: Path) -> None:
    grid = client.encode(video)
    with pytest.raises(ValueError, match="mp4, webm, gif, zip, npy"):
        client.decode_to(grid, tmp_path / "video.avi")
    with pytest.raises(ValueError, match="form"):
        client.decode_to(grid, tmp_path / "video.mp4", form="avi")
    with pytest.raises(OSError, match="nowhere"):
        client.decode_to(grid, tmp_path / "nowhere" / "video.mp4")
    assert not list(tmp_path.iterdir())


def test_a_stream_gives_each_clip_and_then_its_fields(
    client: Any, tokenizer: VideoTokenizer, video: bytes
) -> None:
    expected = tokenizer.encode(video)
    stream = client.encode_stream(video)
    before: Any = stream.summary
    assert before is None
    clips = list(stream)
    assert [clip.shape for clip in clips] == [(3, 4, 4)] * 3
    summary: Any = stream.summary
    grid = TokenGrid(indices=np.stack(clips), frames=summary.frames, fps=summary.fps, model=summary.model)
    assert grid == expected


def test_a_stream_that_is_closed_ends_the_work(
    connect: Callable[..., Any],
    serve_gated: Callable[..., Any],
    gate: Any,
    make: Callable[..., bytes],
    eventually: Callable[[Callable[[], bool]], None],
) -> None:
    server = serve_gated()
    gate.free = 1
    stream = connect(server.url).encode_stream(make(80))
    next(iter(stream))
    stream.close()
    gate.opened.set()
    eventually(lambda: server.app_state.lifecycle.in_flight == 0)


def test_reconstruct_gives_a_video_and_its_quality(client: Any, video: bytes) -> None:
    result = client.reconstruct(video, seconds=1)
    assert 0 < result.psnr < 60
    assert -1 <= result.ssim <= 1
    with av.open(io.BytesIO(result.video), "r") as container:
        assert len(list(container.decode(video=0))) == 8


def test_info_tells_of_the_model_and_the_limits(client: Any, tokenizer: VideoTokenizer) -> None:
    info = client.info()
    assert (info.model, info.grid, info.image_size) == (tokenizer.fingerprint, (3, 4, 4), (32, 32))
    assert info.limits["max_clips"] == 512


def broken(video: bytes) -> Iterator[tuple[bytes, type[CViViTError]]]:
    yield b"", EmptyBodyError
    yield b"no video at all", UnsupportedMediaError
    yield video[: len(video) // 2], CorruptVideoError


def test_errors_are_those_of_the_library(client: Any, video: bytes) -> None:
    for body, kind in broken(video):
        for call in (client.encode, client.reconstruct, lambda body: list(client.encode_stream(body))):
            with pytest.raises(kind) as caught:
                call(body)
            error = caught.value
            assert isinstance(error, ProblemError)
            assert (error.code, error.request_id is not None) == (kind.code, True)
            assert str(error)
            again = pickle.loads(pickle.dumps(error))
            assert (type(again), str(again), again.status) == (type(error), str(error), error.status)


def test_a_limit_is_told(
    connect: Callable[..., Any], serve: Callable[..., Any], video: bytes, make: Callable[..., bytes]
) -> None:
    client = connect(serve(max_clips=2).url)
    with pytest.raises(VideoTooLargeError) as caught:
        client.encode(video)
    assert (caught.value.limit_name, caught.value.limit, caught.value.status) == ("max_clips", 2, 413)  # type: ignore[attr-defined]
    with pytest.raises(VideoTooLargeError):
        list(client.encode_stream(make(80)))  # the error comes after some results


def test_tokens_of_another_model_are_refused(client: Any, video: bytes) -> None:
    grid = client.encode(video)
    other = TokenGrid(indices=grid.indices, frames=grid.frames, fps=grid.fps, model="another")
    with pytest.raises(ModelMismatchError):
        client.decode(other)


def test_keys_are_sent(connect: Callable[..., Any], serve: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("secret\n")
    url = serve(api_keys_file=tmp_path / "keys").url
    assert connect(url, api_key="secret").info().model
    for settings in ({}, {"api_key": "wrong"}):
        with pytest.raises(UnauthorizedError):
            connect(url, **settings).info()


def test_bad_arguments_are_refused_at_once(connect: Callable[..., Any], client: Any, tmp_path: Path) -> None:
    for url, settings in (
        ("127.0.0.1:8000", {}),
        ("ftp://host", {}),
        ("http://host", {"timeout": 0}),
        ("http://host", {"retries": -1}),
    ):
        with pytest.raises(ValueError, match=r"url|timeout|retries"):
            connect(url, **settings)
    with pytest.raises(FileNotFoundError):
        client.encode(tmp_path / "nowhere.mp4")
    for source in (5, None, io.StringIO("text")):
        with pytest.raises(TypeError):
            client.encode(source)
    with pytest.raises(ClientError, match="fit"):
        client.encode(b"x", fit="zoom")
