"""The JSON form from untrusted sources: every field, every kind of error, and a limit before parsing."""

from __future__ import annotations

import gc
import json
import tracemalloc
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
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
    TokenSyntaxError,
    TooManyTokensError,
)
from cvivit.tokens import token_json
from cvivit.tokens.grid import TokenGrid

MODEL = "5f" * 32
CLIP = np.zeros((3, 4, 4), int).tolist()
"""One clip of the tiny network."""


def document(**fields: Any) -> str:
    """A document that the tiny network decodes, with some fields replaced, or left out by the value `...`."""
    whole = {"model": MODEL, "shape": [1, 3, 4, 4], "frames": 5, "fps": 8, "indices": [CLIP]} | fields
    return json.dumps({name: value for name, value in whole.items() if value is not ...})


def with_token(token: str) -> str:
    """A document whose first token is the given piece of JSON."""
    return document().replace("[[[[0,", f"[[[[{token},")


@pytest.fixture
def read(tiny: CViViTConfig) -> Any:
    def read(text: str | bytes, **arguments: Any) -> TokenGrid:
        return TokenGrid.from_json(text, config=tiny, model=MODEL, **arguments)

    return read


@pytest.mark.parametrize("name", ["frames", "fps", "model", "shape"])
def test_null_means_unset(read: Any, name: str) -> None:
    assert read(document(**{name: None})) == read(document(**{name: ...}))


def test_null_leaves_a_required_field_missing() -> None:
    """Missing fields are completed from the network that decodes the tokens, and here there is none."""
    for name in ("frames", "fps", "model"):
        with pytest.raises(TokenFieldError, match=f"{name} is missing"):
            TokenGrid.from_json(document(**{name: None}))
    with pytest.raises(TokenShapeError):
        TokenGrid.from_json(document(indices=None))


def test_golden_text() -> None:
    grid = TokenGrid(indices=np.arange(4).reshape(1, 1, 2, 2), frames=1, fps=8, model="ab")
    text = '{"model":"ab","shape":[1,1,2,2],"frames":1,"fps":8.0,"indices":[[[[0,1],[2,3]]]]}'
    assert grid.to_json() == text


def test_only_indices_are_required_of_one_clip_or_many(read: Any, tiny: CViViTConfig) -> None:
    one = read(json.dumps({"indices": CLIP}))
    assert one == read(json.dumps({"indices": [CLIP]}))
    assert (one.indices.shape, one.frames, one.fps, one.model) == ((1, 3, 4, 4), 5, 8.0, MODEL)
    assert read(json.dumps({"indices": [CLIP, CLIP, CLIP]})).frames == 15
    assert read(document(frames=1)).frames == 1
    assert read(json.dumps({"indices": CLIP, "shape": [3, 4, 4]})) == one


@pytest.mark.parametrize("name", ["model", "frames", "fps"])
def test_without_a_network_every_field_is_required(name: str) -> None:
    TokenGrid.from_json(document(shape=...))
    with pytest.raises(TokenFieldError, match=f"{name} is missing"):
        TokenGrid.from_json(document(**{name: ...}))


def test_tokens_of_a_large_codebook_take_four_bytes(tiny: CViViTConfig) -> None:
    large = tiny.model_copy(update={"codebook_size": 2**16 + 1})
    assert TokenGrid.from_json(document(), config=large).indices.dtype == np.uint32
    assert TokenGrid.from_json(document(), config=tiny).indices.dtype == np.uint16


@pytest.mark.parametrize(
    "text",
    ["", " ", "{", "nul", "[[[[1]]]]x", "{'indices': 1}", b"\xff\xfe", b"\x80", "\ufeff{}", "<html>",
     "[" * 10_000, '{"indices":' * 10_000, "[" * 10_000 + "]" * 10_000, b'{"a\x00b":1}',
     '{"indices": [[[[01]]]]}'],
)  # fmt: skip
def test_refuses_what_is_not_json(text: str | bytes, read: Any) -> None:
    with pytest.raises(TokenSyntaxError):
        read(text)


@pytest.mark.parametrize("text", ["[]", "1", "null", '"indices"', "[[[[1]]]]", "NaN"])
def test_refuses_json_that_is_no_object(text: str, read: Any) -> None:
    with pytest.raises(TokenFormatError):
        read(text)


@pytest.mark.parametrize(
    "text",
    ['{"indices": 1, "indices": 2}', document()[:-1] + ', "fps": 9}', '{"a": {"b": 1, "b": 1}}'],
)
def test_refuses_a_key_that_occurs_twice(text: str, read: Any) -> None:
    with pytest.raises(TokenFormatError, match="occurs twice"):
        read(text)


@pytest.mark.parametrize(
    "indices",
    [
        [],
        [[]],
        [[[[]]]],
        [[[[], []]]],
        0,
        None,
        "indices",
        {},
        True,
        [1, 2],
        [[1]],
        [[[[[0]]]]],
        [CLIP, CLIP[:2]],
        [[[[0, 1], [0]]]],
        [[[[0, 1], 5]]],
        [[[[0, [1]]]]],
        [CLIP, None],
        [CLIP, {}],
    ],
)
def test_refuses_indices_of_another_shape(indices: Any, read: Any) -> None:
    with pytest.raises(TokenShapeError):
        read(document(indices=indices, shape=...))


def test_refuses_another_grid_than_the_networks(read: Any) -> None:
    with pytest.raises(TokenShapeError, match=r"\(3, 4, 4\)"):
        read(document(indices=[CLIP[:2]], shape=...))


@pytest.mark.parametrize(
    "token",
    ["-1", "64", "8192", "1.5", "1.0", "1e0", "NaN", "Infinity", "-Infinity", "true", "false", "null", '"1"',
     "{}", str(2**32), str(2**63), str(-(2**63) - 1), str(10**400), "1" * 5000, "1e999"],
)  # fmt: skip
def test_refuses_a_token(token: str, read: Any) -> None:
    with pytest.raises(TokenRangeError) as caught:
        read(with_token(token))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("token", [-1, 64, 2**31, 2**32, 2**40, -(2**40)])
def test_a_token_out_of_range_is_told_the_networks_range(token: int, read: Any) -> None:
    with pytest.raises(TokenRangeError, match=rf"token {token} .* \[0, 64\)"):
        read(with_token(str(token)))


@pytest.mark.parametrize("frames", [0, -1, 6, 2**63, 10**400, 5.0, 1.5, float("nan"), "5", True, [5], {}])
def test_refuses_frames(frames: Any, read: Any) -> None:
    with pytest.raises(TokenFieldError, match="frames"):
        read(document(frames=frames))


def test_refuses_frames_that_leave_a_clip_empty(read: Any) -> None:
    with pytest.raises(TokenFieldError, match=r"\[6, 10\]"):
        read(document(indices=[CLIP, CLIP], frames=5, shape=...))


@pytest.mark.parametrize("fps", [0, -1, 1e6, float("nan"), float("inf"), 10**400, "8", True, [8], {}])
def test_refuses_fps(fps: Any, read: Any) -> None:
    with pytest.raises(TokenFieldError, match="fps"):
        read(document(fps=fps))


@pytest.mark.parametrize("sign", ["", "-"])
@pytest.mark.parametrize("name", ["fps", "frames", "shape", "model"])
def test_refuses_a_field_of_more_digits_than_python_reads(name: str, sign: str, read: Any) -> None:
    text = document(**{name: "?"}).replace('"?"', sign + "1" * 5001)
    with pytest.raises(TokenFieldError, match=name) as caught:
        read(text)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("model", ["", 5, True, [], "a\nb", "x" * 1000])
def test_refuses_a_model_name(model: Any, read: Any) -> None:
    with pytest.raises(TokenFieldError, match="model"):
        read(document(model=model))


@pytest.mark.parametrize(
    "shape",
    [[3, 4, 4], [1, 4, 3, 4], [1, 3, 4, 4.0], [True, 3, 4, 4], [1, 3, 4, "4"], [2, 3, 4, 4], [], 48, {},
     [10**400, 3, 4, 4], [[1, 3, 4, 4]]],
)  # fmt: skip
def test_refuses_a_shape_that_is_not_that_of_the_indices(shape: Any, read: Any) -> None:
    with pytest.raises(TokenFieldError, match="shape"):
        read(document(shape=shape))


def test_refuses_an_unknown_field_and_a_document_without_indices(read: Any) -> None:
    with pytest.raises(TokenFieldError, match='"frame"'):
        read(document(frame=5))
    with pytest.raises(TokenFieldError, match="indices is missing"):
        read(document(indices=...))


@pytest.mark.parametrize("config", [True, False])
def test_refuses_tokens_of_other_weights(config: bool, tiny: CViViTConfig) -> None:
    with pytest.raises(ModelMismatchError):
        TokenGrid.from_json(document(), config=tiny if config else None, model="another")


def test_the_limit_is_exact(read: Any) -> None:
    assert read(document(), max_tokens=48).indices.size == 48
    with pytest.raises(TooManyTokensError) as caught:
        read(document(), max_tokens=47)
    assert caught.value.limit == 47
    assert read(json.dumps({"indices": CLIP}), max_tokens=48).indices.size == 48


@pytest.mark.parametrize("piece", ["0,", "[],", '"",', "{},", '{"a":0},'])
def test_too_many_tokens_are_refused_before_they_are_parsed(piece: str, read: Any) -> None:
    text = '{"indices":[' + piece * 300_000 + "0]}"
    tracemalloc.start()
    try:
        with pytest.raises(TooManyTokensError):
            read(text, max_tokens=1000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_any_buffer_is_utf8(read: Any) -> None:
    for buffer in (bytearray, memoryview):
        assert read(buffer(document().encode()), max_tokens=48).indices.size == 48
        with pytest.raises(TokenSyntaxError):
            read(buffer(document().encode("utf-16")))


@pytest.mark.parametrize("as_text", [str, str.encode])
@pytest.mark.parametrize(
    "piece", ["[" * 900 + "]" * 900 + ",", "[[[[]]]],", '{"a":' * 900 + "0" + "}" * 900 + ",", "[{}],"]
)
def test_more_lists_than_tokens_could_need_are_refused_before_they_are_parsed(
    piece: str, as_text: Any, read: Any
) -> None:
    """Nested lists need no commas: 66 MB of them held 33 million lists and took half a minute to parse."""
    text = as_text('{"indices":[' + piece * 900 + "0]}")
    tracemalloc.start()
    try:
        with pytest.raises(TokenSyntaxError, match="more lists or objects than"):
            read(text, max_tokens=1000)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "shape", [(1000, 1, 1, 1), (1, 1, 1, 1000), (10, 10, 10, 1), (1, 1000, 1, 1), (1, 1, 1, 1)]
)
def test_every_grid_within_the_limit_is_parsed(shape: tuple[int, ...]) -> None:
    text = json.dumps({"indices": np.zeros(shape, int).tolist(), "shape": list(shape)})
    assert token_json.read(text, max_tokens=1000)[0].shape == shape


def test_many_keys_take_linear_time(read: Any) -> None:
    text = "{" + ",".join(f'"{i}":0' for i in range(200_000)) + ',"199999":0}'
    with pytest.raises(TokenFormatError, match="occurs twice"):
        read(text)


@given(st.binary(max_size=200) | st.text(max_size=200))
@example(b'{"indices":[[[[0]]]],"frames":1,"fps":8,"model":"a"}')
def test_any_bytes_are_a_grid_or_a_tokens_error(data: bytes | str) -> None:
    with suppress(TokensError):
        TokenGrid.from_json(data)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["model", "shape", "frames", "fps", "indices"]), VALUES))
def test_any_fields_are_a_grid_or_a_tokens_error(fields: dict[str, Any]) -> None:
    tiny = CViViTConfig.demo(image_size=8, clip_frames=1)
    complete = {"indices": [[[0]]]} | fields
    with suppress(TokensError):
        TokenGrid.from_json(json.dumps(complete), config=tiny, model=MODEL, max_tokens=8).check(tiny)


def test_the_collector_is_kept_out_of_parsing_and_let_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def loads(*_: object, **__: object) -> object:
        seen.append(gc.isenabled())
        raise RecursionError

    monkeypatch.setattr("cvivit.tokens.strict_json.json.loads", loads)
    with pytest.raises(TokenSyntaxError):
        TokenGrid.from_json("{}")
    assert seen == [False]
    assert gc.isenabled()
