"""The safetensors form from untrusted sources: known bytes, hostile headers, a limit before allocation."""

from __future__ import annotations

import io
import json
import struct
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import example, given
from hypothesis import strategies as st

from cvivit.config import CViViTConfig
from cvivit.errors import (
    ModelMismatchError,
    TokenFieldError,
    TokenFormatError,
    TokenRangeError,
    TokensError,
    TokenShapeError,
    TooManyTokensError,
)
from cvivit.tokens.grid import TokenGrid

MODEL = "5f" * 32
GRID = TokenGrid(indices=(np.arange(96) % 64).reshape(2, 3, 4, 4), frames=8, fps=8.0, model=MODEL)
METADATA = {"format": "cvivit-tokens", "version": "1", "model": MODEL, "frames": "8", "fps": "8.0"}
TENSOR: dict[str, Any] = {"dtype": "U16", "shape": [2, 3, 4, 4], "data_offsets": [0, 192]}
DATA = GRID.indices.tobytes()


def file_of(header: Any, data: bytes = DATA) -> bytes:
    """A safetensors file with the given header, which need not be a valid one."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def with_tensor(data: bytes = DATA, **fields: Any) -> bytes:
    return file_of({"__metadata__": METADATA, "indices": TENSOR | fields}, data)


def with_metadata(**fields: Any) -> bytes:
    kept = {name: value for name, value in (METADATA | fields).items() if value is not ...}
    return file_of({"__metadata__": kept, "indices": TENSOR})


def test_golden_bytes() -> None:
    grid = TokenGrid(indices=np.array([[[[1, 258]]]]), frames=1, fps=8, model="abc")
    header = (
        b'{"__metadata__":{"format":"cvivit-tokens","version":"1","model":"abc","frames":"1","fps":"8.0"},'
        b'"indices":{"dtype":"U16","shape":[1,1,1,2],"data_offsets":[0,4]}}       '
    )
    golden = b"\xa8\x00\x00\x00\x00\x00\x00\x00" + header + b"\x01\x00\x02\x01"
    assert grid.to_bytes() == golden
    assert TokenGrid.from_bytes(golden) == grid


def test_golden_bytes_of_a_large_codebook() -> None:
    grid = TokenGrid(indices=np.array([[[[1, 65_538]]]]), frames=1, fps=8, model="ab")
    assert b'"dtype":"U32"' in grid.to_bytes()
    assert grid.to_bytes().endswith(b"\x01\x00\x00\x00\x02\x00\x01\x00")


def test_the_safetensors_package_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    GRID.save(path)
    with safetensors.safe_open(path, framework="numpy") as file:
        assert file.metadata() == METADATA
        np.testing.assert_array_equal(file.get_tensor("indices"), GRID.indices)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8"])
def test_reads_what_the_safetensors_package_writes_in_any_integer_type(
    dtype: str, tiny: CViViTConfig
) -> None:
    sampled = safetensors.numpy.save({"indices": GRID.indices.astype(dtype)})
    grid = TokenGrid.from_bytes(sampled, config=tiny, model=MODEL)
    np.testing.assert_array_equal(grid.indices, GRID.indices)
    assert grid.indices.dtype == np.uint16
    assert (grid.frames, grid.fps, grid.model) == (10, 8.0, MODEL)
    one = safetensors.numpy.save({"indices": GRID.indices[0].astype(dtype)})
    assert TokenGrid.from_bytes(one, config=tiny, model=MODEL).indices.shape == (1, 3, 4, 4)
    assert TokenGrid.from_bytes(safetensors.numpy.save({"indices": GRID.indices}, metadata=METADATA)) == GRID


@pytest.mark.parametrize("size", range(len(GRID.to_bytes())))
def test_refuses_a_file_that_ends_early(size: int) -> None:
    with pytest.raises(TokenFormatError):
        TokenGrid.from_bytes(GRID.to_bytes()[:size])


def test_refuses_bytes_after_the_indices() -> None:
    with pytest.raises(TokenFormatError, match="after"):
        TokenGrid.from_bytes(GRID.to_bytes() + b"\x00")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 8,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 65_537) + b" " * 65_537,
        struct.pack("<Q", 0),
        file_of(b"not json"),
        file_of(b"\xff\xfe\xfd"),
        file_of(b"[" * 60_000),
        file_of(b"[]"),
        file_of({}),
        file_of(b'{"indices":1,"indices":2}'),
        file_of(b'{"indices":' + b"1" * 5000 + b"}"),
        file_of({"indices": None}),
        file_of({"indices": {"dtype": "U16", "shape": [1]}}),
        file_of({"indices": TENSOR | {"extra": 1}}),
        file_of({"indices": TENSOR, "other": TENSOR}),
        file_of({"indices": TENSOR, "__metadata__": []}),
        file_of({"indices": TENSOR, "__metadata__": {"frames": 8}}),
        file_of({"indices": TENSOR, "__metadata__": {"frames": None}}),
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
        b"<!DOCTYPE html><html></html>",
        GRID.to_json().encode(),
    ],
)
def test_refuses_what_is_no_token_file(data: bytes) -> None:
    with pytest.raises(TokenFormatError) as caught:
        TokenGrid.from_bytes(data)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "offsets",
    [[0, 191], [0, 193], [1, 193], [192, 0], [0], [0, 192, 0], [0.0, 192.0], ["0", "192"], None, [-192, 0],
     [0, 2**64], [False, 192], 192],
)  # fmt: skip
def test_refuses_offsets_that_do_not_agree(offsets: Any) -> None:
    with pytest.raises(TokenFormatError):
        TokenGrid.from_bytes(with_tensor(data_offsets=offsets))


@pytest.mark.parametrize(
    "dtype", ["F32", "F16", "BF16", "BOOL", "F64", "u16", "", None, 16, ["U16"], "F8_E4M3"]
)
def test_refuses_types_that_are_not_integers(dtype: Any) -> None:
    with pytest.raises(TokenRangeError):
        TokenGrid.from_bytes(with_tensor(dtype=dtype))


@pytest.mark.parametrize(
    "shape",
    [
        [96],
        [8, 12],
        [1, 2, 3, 4, 4],
        [],
        [2, 3, 4, -4],
        [2, 3, 4, 4.0],
        ["2", 3, 4, 4],
        None,
        96,
        [2, 0, 4, 4],
    ],
)
def test_refuses_another_rank_or_an_empty_grid(shape: Any) -> None:
    with pytest.raises(TokenShapeError):
        TokenGrid.from_bytes(with_tensor(shape=shape))


def test_refuses_tokens_out_of_range(tiny: CViViTConfig) -> None:
    negative = safetensors.numpy.save({"indices": np.full((1, 3, 4, 4), -1, np.int16)})
    large = safetensors.numpy.save({"indices": np.full((1, 3, 4, 4), 64, np.uint16)})
    huge = safetensors.numpy.save({"indices": np.full((1, 3, 4, 4), 2**63, np.uint64)})
    for data in (negative, large, huge):
        with pytest.raises(TokenRangeError):
            TokenGrid.from_bytes(data, config=tiny, model=MODEL)


@pytest.mark.parametrize(
    "fields",
    [
        {"format": "pt"},
        {"format": ""},
        {"version": "2"},
        {"version": "1.0"},
    ],
)
def test_refuses_another_format_or_version(fields: dict[str, str]) -> None:
    with pytest.raises(TokenFormatError):
        TokenGrid.from_bytes(with_metadata(**fields))


@pytest.mark.parametrize(
    "frames", ["0", "-1", "8.0", "eight", "", " 8", "8\n", "٨", "1", "1" * 17, "1" * 5000, "1e1"]
)
def test_refuses_frames(frames: str) -> None:
    with pytest.raises(TokenFieldError, match="frames"):
        TokenGrid.from_bytes(with_metadata(frames=frames))


@pytest.mark.parametrize(
    "fps", ["0", "-1", "nan", "inf", "1e6", "1e999", "8,0", "", "0x8", "1_0", "٨", "1" * 5000]
)
def test_refuses_fps(fps: str) -> None:
    with pytest.raises(TokenFieldError, match="fps"):
        TokenGrid.from_bytes(with_metadata(fps=fps))


@pytest.mark.parametrize("model", ["", "x" * 129, "a\nb", "é", "\ud800"])
def test_refuses_a_model_name(model: str) -> None:
    with pytest.raises(TokenFieldError, match="model"):
        TokenGrid.from_bytes(with_metadata(model=model))


@pytest.mark.parametrize("name", ["frames", "fps", "model"])
def test_without_a_network_every_field_is_required(name: str) -> None:
    with pytest.raises(TokenFieldError, match=f"{name} is missing"):
        TokenGrid.from_bytes(with_metadata(**{name: ...}))


def test_ignores_metadata_of_others() -> None:
    assert TokenGrid.from_bytes(with_metadata(prompt="a dog")) == GRID


def test_refuses_tokens_of_other_weights(tiny: CViViTConfig) -> None:
    with pytest.raises(ModelMismatchError):
        TokenGrid.from_bytes(GRID.to_bytes(), config=tiny, model="another")


@pytest.mark.parametrize("limit", [None, 1000])
@pytest.mark.parametrize("side", [2**20, 2**63, 10**4000])
def test_a_header_that_claims_much_allocates_nothing(side: int, limit: int | None) -> None:
    tokens = side * 48
    raw = b'{"indices":{"dtype":"U16","shape":[%b,3,4,4],"data_offsets":[0,%b]}}'
    data = file_of(raw % (digits(side), digits(tokens * 2)))
    tracemalloc.start()
    try:
        with pytest.raises(TokensError) as caught:
            TokenGrid.from_bytes(data, max_tokens=limit)
        assert tracemalloc.get_traced_memory()[1] < 2 * 1024 * 1024
    finally:
        tracemalloc.stop()
    if limit is not None:
        assert isinstance(caught.value, TooManyTokensError)
        assert json.dumps([caught.value.limit, caught.value.actual])


def digits(number: int) -> bytes:
    """Return decimal digits. Beyond CPython's limit, it takes only a small number times a power of ten."""
    zeros = 0
    while number % 10**100 == 0:
        number //= 10**100
        zeros += 100
    return str(number).encode() + b"0" * zeros


def test_the_limit_is_exact() -> None:
    assert TokenGrid.from_bytes(GRID.to_bytes(), max_tokens=96) == GRID
    with pytest.raises(TooManyTokensError):
        TokenGrid.from_bytes(GRID.to_bytes(), max_tokens=95)


def test_reads_a_file_that_gives_a_byte_at_a_time() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(1, size or 0))

    assert TokenGrid.load(Slow(GRID.to_bytes())) == GRID


@given(st.binary(max_size=300))
@example(GRID.to_bytes())
def test_any_bytes_are_a_grid_or_a_tokens_error(data: bytes) -> None:
    for attempt in (data, struct.pack("<Q", len(data)) + data):
        with suppress(TokensError):
            TokenGrid.from_bytes(attempt)


@given(st.integers(0, len(GRID.to_bytes()) - 1), st.binary(min_size=1, max_size=8))
def test_any_damage_is_a_grid_or_a_tokens_error(place: int, damage: bytes) -> None:
    data = bytearray(GRID.to_bytes())
    data[place : place + len(damage)] = damage
    with suppress(TokensError):
        TokenGrid.from_bytes(bytes(data))
