"""CSV and Parquet tables: which column holds the paths, and what the other columns are used for."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from cvivit.errors import InputTableError, MissingPackageError
from cvivit.inputs import Source, find_sources


def csv_of(folder: Path, text: str, name: str = "table.csv", encoding: str = "utf-8") -> str:
    (folder / name).write_bytes(text.encode(encoding))
    return str(folder / name)


def told(sources: list[Source]) -> dict[str, tuple[str | None, dict[str, Any] | None]]:
    return {source.name: (source.caption(), source.metadata()) for source in sources}


@pytest.mark.parametrize(
    "text",
    [
        "path,caption,licence\na.mp4,A red ball,CC0\nb/c.mp4,,\n",
        "\ufeffpath,caption,licence\r\na.mp4,A red ball,CC0\r\n\r\nb/c.mp4,,\r\n",
        "PATH;Caption;licence\na.mp4;A red ball;CC0\nb/c.mp4;;\n",
        'licence,"text","File_Name"\nCC0,"A red ball",a.mp4\n,,b/c.mp4',
    ],
)
def test_columns_become_paths_captions_and_metadata(text: str, tmp_path: Path) -> None:
    assert told(find_sources([csv_of(tmp_path, text)])) == {
        "a.mp4": ("A red ball", {"licence": "CC0"}),
        "b/c.mp4": (None, None),
    }


def test_a_table_names_files_anywhere(tmp_path: Path) -> None:
    table = csv_of(tmp_path, "id\turl\n1\ts3://bucket/x/a.mp4\n2\t/elsewhere/b.mp4\n3\tc.jpg\n", "t.tsv")
    found = find_sources([table])
    assert [(source.location, source.name, source.kind) for source in found] == [
        ("/elsewhere/b.mp4", "elsewhere/b.mp4", "video"),
        (f"{tmp_path}/c.jpg", "c.jpg", "still"),
        ("s3://bucket/x/a.mp4", "bucket/x/a.mp4", "video"),
    ]


def test_what_lies_beside_a_file_and_what_the_table_says_are_joined(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a.txt").write_text("beside")
    (tmp_path / "a.json").write_text('{"licence": "?", "camera": "x"}')
    (source,) = find_sources([csv_of(tmp_path, "path,caption,licence\na.mp4,of the table,CC0\n")])
    assert (source.caption(), source.metadata()) == ("of the table", {"licence": "CC0", "camera": "x"})
    (source,) = find_sources([csv_of(tmp_path, "path\na.mp4\n")])
    assert (source.caption(), source.metadata()) == ("beside", {"licence": "?", "camera": "x"})


def test_several_rows_of_one_file_lose_nothing(tmp_path: Path) -> None:
    text = "path,caption,id,kind\na.mp4,One,1,x\na.mp4,Two,2,x\n./a.mp4,One,1,x\n"
    assert told(find_sources([csv_of(tmp_path, text)])) == {
        "a.mp4": ("One\nTwo", {"id": ["1", "2"], "kind": "x"})
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the table is empty; its first line names the columns"),
        ("path,caption\n", "the table has no rows"),
        ("clip,words\na.mp4,x\n", "no column of paths. Its columns are clip, words; call the one with"),
        ("path,caption\na.mp4,x\n,y\n", "line 3 has nothing in the column 'path'"),
        ("path,caption\nNaN,y\n", "line 2 has nothing in the column 'path'"),
        ("path,caption\na.mp4\n", "line 2 has 1 cells for 2 columns"),
        ("path,path\na.mp4,b.mp4\n", r"two columns have one name \(path, path\)"),
        ('path,caption\na.mp4,"never closed\nb.mp4,x\n', "unexpected end of data"),
        ("path,caption\na.mp4," + "x" * 2_000_000, "field larger than field limit"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputTableError, match=rf"table\.csv: .*{said}"):
        find_sources([csv_of(tmp_path, text)])


def test_a_table_that_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(InputTableError, match=r"table\.csv: a table is text in UTF-8"):
        find_sources([csv_of(tmp_path, "path\nä.mp4\n", encoding="latin-1")])


def parquet_of(folder: Path, columns: dict[str, Any]) -> str:
    parquet.write_table(pa.table(columns), folder / "table.parquet")
    return str(folder / "table.parquet")


def test_parquet_keeps_types_that_json_has(tmp_path: Path) -> None:
    table = parquet_of(
        tmp_path,
        {
            "video": ["a.mp4", "b.mp4"],
            "caption": ["A red ball", None],
            "seconds": [1.5, float("nan")],
            "tags": [["x", "y"], []],
            "day": [datetime.date(2026, 1, 2), None],
            "rights": [{"owner": "me"}, None],
        },
    )
    first = {"seconds": 1.5, "tags": ["x", "y"], "day": "2026-01-02", "rights": {"owner": "me"}}
    assert told(find_sources([table])) == {"a.mp4": ("A red ball", first), "b.mp4": (None, {"tags": []})}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": []}, "the table has no rows"),
        ({"clip": ["a.mp4"], "words": ["x"]}, "Its columns are clip, words"),
        ({"path": ["a.mp4", None]}, "row 2 has nothing in the column 'path'"),
        ({"path": [float("nan")]}, "row 1 has nothing in the column 'path'"),
        ({"path": [7]}, "the column 'path' holds int, not paths"),
        ({"path": ["a.mp4"], "caption": [7]}, "row 1 has a caption that is int, not text"),
        ({"path": ["a.mp4"], "thumbnail": [b"\xff"]}, "row 1 holds bytes, which JSON cannot hold"),
    ],
)
def test_parquet_that_cannot_be_used_says_why(columns: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(InputTableError, match=rf"table\.parquet: .*{said}"):
        find_sources([parquet_of(tmp_path, columns)])


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").write_bytes(b"hello")
    with pytest.raises(InputTableError, match=r"table\.parquet: not a Parquet file"):
        find_sources([str(tmp_path / "table.parquet")])


def test_without_pyarrow_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = parquet_of(tmp_path, {"path": ["a.mp4"]})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match="pip install pyarrow"):
        find_sources([table])
