"""`TokenDataset` in each form: its samples, and its errors for damaged files."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cvivit.errors import DataError, ModelMismatchError, NoDataError, ShardError
from cvivit.tokens import TokenDataset, TokenSample
from cvivit.tokens.datasets.manifest import Form
from cvivit.tokens.datasets.open_files import MOST_OPEN
from tests.cvivit.tokens.datasets.made import FORMS, MODEL, assert_same, made_sample, write_dataset
from tests.places import ROOT


def test_samples_are_what_was_written(folder: Path, samples: list[TokenSample]) -> None:
    dataset = TokenDataset(folder, check=True)
    assert len(dataset) == 9
    for index in np.random.default_rng(0).permutation(9):
        assert_same(dataset[index], samples[index])
    for one, other in zip(dataset, samples, strict=True):
        assert_same(one, other)
    assert_same(dataset[-1], samples[8])
    for beyond in (9, -10):
        with pytest.raises(IndexError, match=f"sample {beyond} of 9"):
            dataset[beyond]
    assert (dataset.model, dataset.fps, dataset.grid, dataset.codebook_size) == (MODEL, 8.0, (3, 4, 4), 64)


def test_tokens_cannot_be_overwritten(folder: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        TokenDataset(folder)[0].tokens[0] = 0


def test_a_copy_reads_the_same(folder: Path, samples: list[TokenSample]) -> None:
    dataset = TokenDataset(folder)
    dataset[0]
    copied = pickle.dumps(dataset)
    assert len(copied) < 10_000
    assert_same(pickle.loads(copied)[7], samples[7])


def test_another_process_reads_the_same_at_the_same_time(folder: Path, samples: list[TokenSample]) -> None:
    dataset = TokenDataset(folder)
    dataset[0]
    copied = pickle.dumps((dataset, [sample.key for sample in samples]))
    program = (
        "import pickle, sys; dataset, keys = pickle.loads(sys.stdin.buffer.read())\n"
        "sys.exit([dataset[8 - n].key for n in range(9)] != keys[::-1])"
    )
    done = subprocess.run([sys.executable, "-c", program], input=copied, env=_environment())
    assert done.returncode == 0
    for number in range(9):
        assert_same(dataset[number], samples[number])


def test_a_truncated_file_is_named(folder: Path) -> None:
    for path in _data_files(folder):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(ShardError, match=f"{path.name}: cut short, it has {len(whole) - 1} bytes"):
            TokenDataset(folder)
        path.unlink()
        with pytest.raises(ShardError, match=f"{path.name}: no such file"):
            TokenDataset(folder)
        path.write_bytes(whole)
    TokenDataset(folder)


def test_damage_is_named(folder: Path) -> None:
    for path in _data_files(folder):
        whole = path.read_bytes()
        for place in np.random.default_rng(1).integers(0, len(whole), 20):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
            with pytest.raises(ShardError, match=f"{path.name}: differs from its checksum"):
                TokenDataset(folder, check=True)
            with suppress(ShardError):  # no other error, and none if the damage is not noticed
                list(TokenDataset(folder))
        path.write_bytes(whole)


def test_tokens_of_another_model_are_refused(folder: Path) -> None:
    with pytest.raises(ModelMismatchError, match=f"made by model {MODEL}, not by abc"):
        TokenDataset(folder, model="abc")
    TokenDataset(folder, model=MODEL)
    TokenDataset(folder, model=SimpleNamespace(fingerprint=MODEL, tokens_of=()))
    TokenDataset(folder, model=SimpleNamespace(fingerprint="abc", tokens_of=("x", MODEL)))
    with pytest.raises(ModelMismatchError):
        TokenDataset(folder, model=SimpleNamespace(fingerprint="abc", tokens_of=("x",)))


def test_what_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoDataError, match="gone: no such folder"):
        TokenDataset(tmp_path / "gone")
    with pytest.raises(NoDataError, match="holds no token dataset"):
        TokenDataset(tmp_path)
    (tmp_path / ".work").mkdir()
    with pytest.raises(NoDataError, match="unfinished; run the same `cvivit tokenize` again"):
        TokenDataset(tmp_path)
    for text in (b"", b"[]", b"{}", b'{"version": 2}', b"\xff"):
        (tmp_path / "manifest.json").write_bytes(text)
        with pytest.raises(DataError, match=r"manifest\.json: not the manifest of a token dataset"):
            TokenDataset(tmp_path)


def test_few_files_stay_open(tmp_path: Path) -> None:
    write_dataset(tmp_path / "many", "webdataset", [[made_sample(number)] for number in range(3 * MOST_OPEN)])
    before = len(os.listdir("/dev/fd"))
    dataset = TokenDataset(tmp_path / "many")
    for number in range(len(dataset)):
        dataset[number]
    assert len(os.listdir("/dev/fd")) <= before + MOST_OPEN
    del dataset
    assert len(os.listdir("/dev/fd")) <= before


def test_equal_samples_make_equal_files(tmp_path: Path, form: Form, samples: list[TokenSample]) -> None:
    one, other = (write_dataset(tmp_path / name, form, [samples[:4], samples[4:]]) for name in "ab")
    assert one == other


def test_empty_shards_are_passed_over(tmp_path: Path, form: Form) -> None:
    write_dataset(tmp_path / "one", form, [[], [made_sample(0)], []])
    assert [sample.key for sample in TokenDataset(tmp_path / "one")] == [made_sample(0).key]
    assert_same(TokenDataset(tmp_path / "one")[-1], made_sample(0))


def test_wide_tokens_keep_their_type(tmp_path: Path, form: Form) -> None:
    wide = replace(made_sample(0), tokens=np.full((1, 3, 4, 4), 2**17, np.uint32))
    manifest = write_dataset(tmp_path / "wide", form, [[wide]])
    manifest.model_copy(update={"dtype": "uint32"}).save(tmp_path / "wide")
    assert_same(TokenDataset(tmp_path / "wide")[0], wide)


def test_the_package_imports_and_reads_without_torch(tmp_path: Path, samples: list[TokenSample]) -> None:
    for form in FORMS:
        write_dataset(tmp_path / form, form, [samples])
    program = (
        "import sys; from cvivit.tokens import TokenDataset, TokenGrid\n"
        "assert not {'torch', 'pyarrow', 'webdataset', 'matplotlib'} & set(sys.modules)\n"
        f"for form in {FORMS}: assert len(list(TokenDataset({str(tmp_path)!r} + '/' + form))) == 9\n"
        "assert not {'torch', 'webdataset'} & set(sys.modules)\n"
        "from cvivit.tokens import ShuffledTokens; assert 'torch' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, env=_environment())


def _data_files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if path.is_file() and path.name != "manifest.json"]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}
