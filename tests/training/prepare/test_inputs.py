"""`prepare` keeps the captions and metadata that belong to its inputs."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from cvivit.shards.reading import STILL_SUFFIXES, VIDEO_SUFFIXES, read_shard
from tests.servers import serving
from training.errors import OutputMismatchError
from training.prepare import PrepareSettings, prepare, run


@pytest.mark.parametrize("name", ["", "shards"])
def test_an_output_among_the_inputs_is_not_an_input(footage: Path, name: str) -> None:
    output, settings = footage / name, PrepareSettings(clip_frames=5, image_size=(32, 32))
    first = prepare([str(footage)], output, settings, processes=1)
    assert first["rejected"] == []
    assert prepare([str(footage)], output, settings, processes=1) == first


SMALL = PrepareSettings(clip_frames=5, image_size=(32, 32), clips_per_shard=4, validation=0.3)


def members(output: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of every sample by its key and their suffixes."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(output.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, suffix = member.name.partition(".")
                data = tar.extractfile(member)
                assert data is not None
                found.setdefault(key, {})[suffix] = data.read()
    return found


@pytest.fixture
def told(footage: Path) -> Path:
    """The footage, in which some files have captions and metadata."""
    (footage / "take 0.txt").write_text("a red ball, ä\n", encoding="utf-8-sig")
    (footage / "take 1.json").write_text('{"licence": "CC0", "tags": ["ä", 1.50]}')
    (footage / "still.txt").write_text("noise")
    return footage


def test_captions_and_metadata_travel_into_shards(told: Path, tmp_path: Path) -> None:
    settings = SMALL.model_copy(
        update={"scales": (1.0, 0.7), "image_size": (16, 16), "offsets": 2, "pans": 1}
    )
    manifest = prepare([str(told)], tmp_path / "out", settings, processes=2)
    assert manifest["rejected"] == []
    found = members(tmp_path / "out")
    facts = {key: json.loads(files["json"]) for key, files in found.items()}
    by_source: dict[str, list[str]] = {}
    for key in sorted(found):
        by_source.setdefault(facts[key]["source"], []).append(key)
    for key in by_source["take 0.mp4"]:
        assert found[key]["txt"] == "a red ball, ä\n".encode()
        assert "metadata" not in facts[key]
    for key in by_source["take 1.mp4"]:
        assert set(found[key]) == {"mp4.mp4", "json"}
        assert facts[key]["metadata"] == {"licence": "CC0", "tags": ["ä", 1.5]}
    # Two seconds hold three clips of 5/8 s. Each is cut at offsets of 0 and 1/16 s, and kept in two crops.
    starts = sorted(facts[key]["start"] for key in by_source["take 1.mp4"])
    assert starts == sorted(2 * [0, 0.0625, 0.625, 0.6875, 1.25, 1.3125])
    assert all(facts[key]["end"] == facts[key]["start"] + 0.625 for key in by_source["take 1.mp4"])
    for key in by_source["still.png"]:
        assert found[key]["txt"] == b"noise"
        assert set(facts[key]) == {"source"}
    suffixes = {suffix for key in by_source["still.png"] for suffix in found[key]}
    assert suffixes == {"mp4.mp4", "png", "txt", "json"}


def test_a_training_run_reads_only_the_clips(told: Path, tmp_path: Path) -> None:
    prepare([str(told)], tmp_path / "out", SMALL, processes=1)
    found = members(tmp_path / "out")
    kinds = (("[tv]*", VIDEO_SUFFIXES, "mp4.mp4"), ("stills-*", STILL_SUFFIXES, "png"))
    for pattern, suffixes, suffix in kinds:
        for shard in (tmp_path / "out").glob(f"{pattern}.tar"):
            for sample in read_shard(str(shard), suffixes=suffixes):
                assert (sample.suffix, sample.data) == (suffix, found[sample.key][suffix])


def test_a_changed_caption_is_noticed(told: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    prepare([str(told)], output, SMALL, processes=1)
    before = members(output)
    (told / "take 0.txt").write_text("a blue ball")
    with pytest.raises(OutputMismatchError, match="shards of other inputs"):
        prepare([str(told)], output, SMALL, processes=1)
    (told / "take 0.txt").unlink()
    with pytest.raises(OutputMismatchError, match="shards of other inputs"):
        prepare([str(told)], output, SMALL, processes=1)
    assert members(output) == before


def test_a_caption_that_changes_between_two_runs_is_read_again(
    told: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(run, "write_shards", killed)
        with pytest.raises(KeyboardInterrupt):
            prepare([str(told)], output, SMALL, processes=1)
    (told / "take 0.txt").write_text("a blue ball")
    prepare([str(told)], output, SMALL, processes=1)
    assert {files["txt"] for files in members(output).values() if "txt" in files} == {
        b"a blue ball",
        b"noise",
    }


def test_texts_that_cannot_be_used_cost_their_video_and_are_told(told: Path, tmp_path: Path) -> None:
    (told / "take 2.txt").write_bytes(b"\xff\xfe")
    (told / "take 3.json").write_text("{")
    shutil.copy(told / "take 0.mp4", told / "twin.mp4")
    (told / "twin.txt").write_text("another caption of the same film")
    manifest = prepare([str(told)], tmp_path / "out", SMALL, processes=2)
    said = {Path(one["source"]).name: (one["reason"], one["message"]) for one in manifest["rejected"]}
    assert {name: reason for name, (reason, _) in said.items()} == {
        "take 2.mp4": "invalid_sidecar", "take 3.mp4": "invalid_sidecar", "twin.mp4": "duplicate",
    }  # fmt: skip
    assert "take 2.txt: a caption is text in UTF-8" in said["take 2.mp4"][1]
    assert said["twin.mp4"][1].endswith("take 0.mp4, with another caption or metadata")


def test_a_server_gives_the_same_shards_as_a_folder(told: Path, tmp_path: Path) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    prepare([str(told)], local, SMALL, processes=1)
    with serving({f"/{path.name}": path.read_bytes() for path in told.iterdir()}) as server:
        server.faults = ["busy", "cut"]
        manifest = prepare([f"{server.url}/"], remote, SMALL, processes=2)
        assert members(remote) == members(local)
        assert manifest["rejected"] == []
        assert prepare([f"{server.url}/"], remote, SMALL, processes=2) == manifest
        server.files["/take 0.mp4"] += b"longer"
        with pytest.raises(OutputMismatchError, match="shards of other inputs"):
            prepare([f"{server.url}/"], remote, SMALL, processes=1)


def test_what_a_server_refuses_is_rejected_and_tried_again(told: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    with serving({f"/{path.name}": path.read_bytes() for path in told.glob("take 0.*")}) as server:
        rows = [str(told / "take 1.mp4"), f"{server.url}/take%200.mp4", f"{server.url}/missing.mp4"]
        table.write_text("path,caption\n" + "".join(f"{row},words of {row}\n" for row in rows))
        manifest = prepare([str(table)], tmp_path / "out", SMALL, processes=1)
        assert [(one["source"], one["reason"]) for one in manifest["rejected"]] == [(rows[2], "unreadable")]
        captions = {files["txt"].decode() for files in members(tmp_path / "out").values()}
        assert captions == {f"words of {row}" for row in rows[:2]}
