"""Pickles that hold code: refused, named, and never run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cvivit.errors import WeightsError, WeightsUnsafeError
from cvivit.weights import load_weights
from cvivit.weights.read import read


class Malicious:
    """An object that makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


class Evaluating(Malicious):
    """An object that does the same with a builtin function."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('pathlib').Path({str(self.mark)!r}).touch()",)


def as_pickle(protocol: int) -> Callable[[Any, Path], None]:
    def write(loaded: Any, path: Path) -> None:
        path.write_bytes(pickle.dumps(loaded, protocol))

    return write


def as_archive(loaded: Any, path: Path) -> None:
    torch.save(loaded, path)


def as_old_archive(loaded: Any, path: Path) -> None:
    torch.save(loaded, path, _use_new_zipfile_serialization=False)


WRITERS = [as_archive, as_old_archive, *(as_pickle(protocol) for protocol in range(6))]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", [Malicious, Evaluating])
@pytest.mark.parametrize("name", ["weights.bin", "weights.pt", "weights"])
def test_code_is_named_and_not_run(
    write: Callable[[Any, Path], None], kind: type[Malicious], name: str, tmp_path: Path
) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / name
    write(OrderedDict(weight=torch.zeros(2), payload=kind(mark)), path)
    with pytest.raises(WeightsUnsafeError, match=r"system|eval") as caught:
        load_weights(path)
    assert not mark.exists()
    assert str(caught.value).isprintable()


def test_the_payload_would_have_run(tmp_path: Path) -> None:
    """Otherwise the test above would show nothing."""
    mark = tmp_path / "it-ran"
    pickle.loads(pickle.dumps(Malicious(mark)))
    assert mark.exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(WeightsUnsafeError, match="Linear"):
        load_weights(path)


def test_torch_s_own_functions_are_no_exception(tmp_path: Path) -> None:
    """`torch.load` without `weights_only` would run what it loads."""
    inner, path = tmp_path / "inner.bin", tmp_path / "weights.bin"
    as_archive(Malicious(tmp_path / "it-ran"), inner)

    class Loading:
        def __reduce__(self) -> tuple[Any, ...]:
            return torch.load, (str(inner), None, None)

    as_archive({"weight": Loading()}, path)
    with pytest.raises(WeightsUnsafeError, match=r"torch\.serialization\.load"):
        load_weights(path)
    assert not (tmp_path / "it-ran").exists()


@given(st.binary(max_size=200), st.sampled_from(["weights.bin", "weights.safetensors"]))
def test_any_bytes_are_a_weights_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("any") / name
    for content in (data, b"\x80\x04" + data, b"PK\x03\x04" + data, len(data).to_bytes(8, "little") + data):
        path.write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            load_weights(path)
        assert str(caught.value).isprintable()


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=16))
def test_any_damage_is_a_weights_error_or_weights(
    tmp_path_factory: pytest.TempPathFactory, place: int, damage: bytes
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "weights.bin"
    torch.save({"a": torch.zeros(3), "b": torch.ones(2, 2)}, path)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + len(damage)] = damage
    path.write_bytes(content)
    with suppress(WeightsError):
        read(path)


def test_a_hidden_second_pickle_is_not_run(tmp_path: Path) -> None:
    """The second pickle is a member of the archive that nothing refers to."""
    mark, path = tmp_path / "it-ran", tmp_path / "weights.bin"
    buffer = io.BytesIO()
    torch.save({"weight": Malicious(mark)}, buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/other.pkl", pickle.dumps(Malicious(mark)))
    path.write_bytes(buffer.getvalue())
    with pytest.raises(WeightsUnsafeError):
        load_weights(path)
    assert not mark.exists()
