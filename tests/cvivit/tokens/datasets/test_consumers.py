"""Each form is read by the libraries that training programs use."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet
import pytest
import webdataset

from cvivit.tokens import TokenSample
from tests.cvivit.tokens.datasets.made import GRID, write_dataset


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_webdataset_reads_its_shards(tmp_path: Path, samples: list[TokenSample]) -> None:
    write_dataset(tmp_path / "w", "webdataset", [samples[:4], samples[4:]])
    shards = f"{tmp_path}/w/tokens-{{000000..000001}}.tar"
    read = list(webdataset.WebDataset(shards, shardshuffle=False).decode())
    gc.collect()  # webdataset leaves its files open until then
    assert [one["__key__"] for one in read] == [sample.key for sample in samples]
    for one, sample in zip(read, samples, strict=True):
        np.testing.assert_array_equal(one["tokens.npy"], sample.tokens)
        assert one["tokens.npy"].dtype == np.uint16
        assert one.get("txt") == sample.caption
        assert one["json"]["source"] == sample.source
        assert one["json"]["fps"] == 8.0
        assert [window["first_frame"] for window in one["json"]["windows"]] == list(sample.first_frames)
        assert [window["time"] for window in one["json"]["windows"]] == list(sample.times)
        assert one["json"].get("metadata") == sample.metadata


def test_pyarrow_reads_parquet(tmp_path: Path, samples: list[TokenSample]) -> None:
    write_dataset(tmp_path / "p", "parquet", [samples[:4], samples[4:]])
    table = pyarrow.parquet.read_table(tmp_path / "p" / "tokens-000000.parquet")
    for row, sample in zip(table.to_pylist(), samples[:4], strict=True):
        np.testing.assert_array_equal(np.array(row["tokens"]).reshape(row["shape"]), sample.tokens)
        assert (row["key"], row["caption"], row["times"]) == (sample.key, sample.caption, list(sample.times))
        assert (row["metadata"] and json.loads(row["metadata"])) == sample.metadata
    file = pyarrow.parquet.ParquetFile(tmp_path / "p" / "tokens-000000.parquet")
    columns = [file.metadata.row_group(0).column(number) for number in range(file.metadata.num_columns)]
    assert {column.compression for column in columns} == {"ZSTD"}


def test_hugging_face_datasets_reads_parquet(tmp_path: Path, samples: list[TokenSample]) -> None:
    write_dataset(tmp_path / "p", "parquet", [samples[:4], samples[4:]])
    files = sorted(str(path) for path in (tmp_path / "p").glob("*.parquet"))
    read = datasets.Dataset.from_parquet(files, cache_dir=str(tmp_path / "cache")).with_format("numpy")
    assert read.num_rows == len(samples)
    for row, sample in zip(read, samples, strict=True):
        np.testing.assert_array_equal(row["tokens"].reshape(row["shape"]), sample.tokens)
        assert row["caption"] == sample.caption


def test_numpy_maps_the_flat_file(tmp_path: Path, samples: list[TokenSample]) -> None:
    write_dataset(tmp_path / "f", "flat", [samples[:4], samples[4:]])
    tokens = np.memmap(tmp_path / "f" / "tokens.bin", "<u2", "r").reshape(-1, *GRID)
    index = np.load(tmp_path / "f" / "tokens.idx.npy")
    lines = [json.loads(line) for line in (tmp_path / "f" / "tokens.jsonl").read_text().splitlines()]
    assert len(lines) == len(samples) == len(index) - 1
    assert len(tokens) == index[-1, 0]
    for number, (line, sample) in enumerate(zip(lines, samples, strict=True)):
        np.testing.assert_array_equal(tokens[index[number, 0] : index[number + 1, 0]], sample.tokens)
        assert (line["key"], line["caption"]) == (sample.key, sample.caption)
        assert line.get("metadata") == sample.metadata
        assert [window["time"] for window in line["windows"]] == list(sample.times)
