from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from cvivit import VideoTokenizer
from cvivit.errors import WeightsError
from cvivit.metrics import MAX_PSNR
from cvivit.video import write_video
from tests.training import whole_runs
from tests.training.evaluate.codecs import my_codec
from tests.training.tiny_run import tiny_config
from training.app import app
from training.errors import CodecError, DataWriteError, NoDataError
from training.evaluate import run
from training.evaluate.codecs.protocol import families
from training.evaluate.codecs.tokens import TokenizerCodec
from training.evaluate.run import EvaluationOptions, evaluate
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS

QUICK = EvaluationOptions(lpips=False, fvd=False, codec_clips=0, shown_clips=2)


@pytest.fixture(scope="module")
def tokenizer(tiny_weights: Path) -> VideoTokenizer:
    return VideoTokenizer.from_pretrained(tiny_weights, device="cpu", precision="exact")


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, frames in enumerate((12, 5)):
        pixels = np.random.default_rng(number).integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)
        write_video(pixels, folder / f"v{number}.mp4", fps=8)
    return folder


def test_a_folder_of_videos_is_measured_window_by_window(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path
) -> None:
    report = evaluate(tokenizer, [str(videos)], tmp_path / "out", QUICK)
    rows = list(csv.DictReader((tmp_path / "out" / "clips.csv").read_text().splitlines()))
    assert [(row["key"], row["frames"]) for row in rows] == [
        ("v0.mp4#0", "5"),
        ("v0.mp4#1", "5"),
        ("v0.mp4#2", "2"),
        ("v1.mp4#0", "5"),
    ]
    assert report["psnr"] == pytest.approx(np.mean([float(row["psnr"]) for row in rows]), abs=1e-3)
    assert report["clips"] == 4
    assert report["frames"] == 17
    assert report["lpips"] is report["rfvd"] is None
    assert set(report["missing"]) == {"LPIPS", "rFVD"}
    for name in ("flicker", "brightness_shift"):
        assert report[name] == pytest.approx(np.mean([float(row[name]) for row in rows]), abs=1e-3)
    assert report["by_frame"]["clips"] == [4, 4, 3, 3, 3]
    assert [len(values) for values in report["by_frame"].values()] == [5] * 4
    assert report["rate"]["bits_per_clip"] == 3 * 4 * 4 * 6
    assert report["weights"]["fingerprint"] == tokenizer.fingerprint
    assert report == json.loads((tmp_path / "out" / "report.json").read_text())
    names = {path.name for path in (tmp_path / "out").iterdir()}
    pictures = {"codebook.png", "frames.png", "contact_sheet.png", "comparison.gif", "comparison.webp"}
    assert pictures | {"report.md"} <= names
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| LPIPS (VGG) | not measured |" in page
    assert f"{report['psnr']:.2f} dB" in page
    assert f"| the first | {report['by_frame']['psnr'][0]:.2f} dB |" in page
    assert f"| Brightness shift | {report['brightness_shift']:+.2f} levels |" in page


def test_clips_of_videos_that_are_called_alike_are_told_apart(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path
) -> None:
    for folder in ("a", "b"):
        (videos / folder).mkdir()
        (videos / folder / "v1.mp4").write_bytes((videos / "v1.mp4").read_bytes())
    evaluate(tokenizer, [str(videos)], tmp_path / "out", QUICK)
    rows = list(csv.DictReader((tmp_path / "out" / "clips.csv").read_text().splitlines()))
    assert [row["key"] for row in rows if row["key"].endswith("v1.mp4#0")] == [
        "a/v1.mp4#0",
        "b/v1.mp4#0",
        "v1.mp4#0",
    ]


def test_names_that_are_no_text_are_written_all_the_same(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path
) -> None:
    shutil.copy(os.fsencode(videos / "v1.mp4"), os.fsencode(videos) + b"/caf\xe9.mp4")
    with open(os.fsencode(videos) + b"/na\xefve.mp4", "wb") as file:
        file.write(b"no video")
    evaluate(tokenizer, [str(videos)], tmp_path / "out", QUICK)
    assert "caf\\udce9.mp4#0," in (tmp_path / "out" / "clips.csv").read_text(encoding="utf-8")
    assert "na\\udcefve.mp4: " in (tmp_path / "out" / "report.md").read_text(encoding="utf-8")


def test_shards_are_measured_as_they_are(tokenizer: VideoTokenizer, videos: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for number in range(2):
            tar.add(videos / f"v{number}.mp4", arcname=f"clip{number}.mp4.mp4")
    report = evaluate(tokenizer, [str(tmp_path / "s.tar")], tmp_path / "out", QUICK)
    rows = list(csv.DictReader((tmp_path / "out" / "clips.csv").read_text().splitlines()))
    assert [row["key"].rpartition("#")[2] for row in rows] == ["clip0", "clip1"]
    assert report["clips"] == 2


def test_codecs_stand_beside_the_tokens(tokenizer: VideoTokenizer, videos: Path, tmp_path: Path) -> None:
    options = EvaluationOptions(lpips=False, fvd=False, codec_clips=1, shown_clips=0)
    # The test looks at H.264 and HEVC, because some versions of AV1 refuse sides of less than 64 pixels.
    report = evaluate(tokenizer, [str(videos)], tmp_path / "out", options)
    assert len(report["codecs"]["H.264"]["curve"]) == len(report["codecs"]["HEVC"]["curve"]) > 3
    assert (tmp_path / "out" / "rate.png").stat().st_size > 0
    tokens = report["tokens_on_codec_clips"]
    assert tokens["bits"] == 288
    assert tokens["bits_per_pixel"] == pytest.approx(288 / (5 * 32 * 32))
    assert tokens["psnr"] == pytest.approx(report["psnr"], abs=3)
    assert "At the same bits, on 1 of the clips:" in (tmp_path / "out" / "report.md").read_text()
    rows = list(csv.DictReader((tmp_path / "out" / "rates.csv").read_text().splitlines()))
    assert {row["codec"] for row in rows} == {"weights", *report["codecs"]}
    assert float(rows[0]["psnr"]) == pytest.approx(tokens["psnr"], abs=1e-4)

    (tmp_path / "out" / "mine.txt").touch()
    evaluate(tokenizer, [str(videos)], tmp_path / "out", replace(options, codec_clips=0))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        ".lock",
        "report.json",
        "report.md",
        "clips.csv",
        "codebook.png",
        "frames.png",
        "mine.txt",
    }


def test_unreadable_videos_are_named(tokenizer: VideoTokenizer, videos: Path, tmp_path: Path) -> None:
    (videos / "broken.mp4").write_bytes((videos / "v0.mp4").read_bytes()[:300])
    report = evaluate(tokenizer, [str(videos)], tmp_path / "out", QUICK)
    assert [Path(entry["source"]).name for entry in report["unreadable"]] == ["broken.mp4"]
    (videos / "v0.mp4").unlink()
    (videos / "v1.mp4").unlink()
    with pytest.raises(NoDataError, match=r"no clip could be read \(.*broken\.mp4: "):
        evaluate(tokenizer, [str(videos)], tmp_path / "other", QUICK)


@pytest.mark.slow
def test_other_codecs_stand_beside_the_tokens_clip_by_clip(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path
) -> None:
    options = EvaluationOptions(lpips=False, fvd=False, codec_clips=4, shown_clips=0)
    raw, other = families(my_codec.curve()), families([TokenizerCodec(tokenizer, "the same")])
    report = evaluate(tokenizer, [str(videos)], tmp_path / "out", options, against=[*raw, *other])
    assert [point["setting"] for point in report["against"]["raw"]["curve"]] == ["8 bits", "5 bits", "2 bits"]
    assert report["against"]["raw"]["curve"][0]["psnr"] == MAX_PSNR
    assert report["against"]["raw"]["curve"][2]["brightness_shift"] < -20
    (same,) = report["against"]["the same"]["curve"]
    assert same == report["tokens_on_codec_clips"]
    psnr = report["against"]["the same"]["paired"][0]
    assert (psnr["figure"], psnr["mean"], psnr["low"], psnr["high"]) == ("psnr", 0, 0, 0)
    assert (psnr["clips"], psnr["sources"]) == (4, 2)
    page = (tmp_path / "out" / "report.md").read_text()
    assert "| the same minus tokens, on 4 clips of 2 videos | mean | 95% confidence |" in page
    assert "| raw, 2 bits | 30720 | 6.0000 |" in page


def test_two_codecs_of_one_name_are_refused(tokenizer: VideoTokenizer, videos: Path, tmp_path: Path) -> None:
    again = families([TokenizerCodec(tokenizer, "HEVC")])
    with pytest.raises(CodecError, match="two of the codecs to compare are called HEVC"):
        evaluate(tokenizer, [str(videos)], tmp_path / "out", QUICK, against=again)
    assert not (tmp_path / "out").exists()


def write_shard(path: Path, files: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"{name}.mp4.mp4")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_shards_and_videos_are_measured_together(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path
) -> None:
    shard = write_shard(tmp_path / "s.tar", {"a": (videos / "v1.mp4").read_bytes()})
    report = evaluate(tokenizer, [str(videos), shard], tmp_path / "out", QUICK)
    rows = list(csv.DictReader((tmp_path / "out" / "clips.csv").read_text().splitlines()))
    assert [row["key"] for row in rows] == [f"{shard}#a", "v0.mp4#0", "v0.mp4#1", "v0.mp4#2", "v1.mp4#0"]
    assert report["unreadable"] == []


def test_data_that_is_not_there_is_known_before_networks_are_fetched(
    tokenizer: VideoTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "load_lpips", lambda _: pytest.fail("fetched"))
    with pytest.raises(NoDataError, match="misspelt"):
        evaluate(tokenizer, [str(tmp_path / "misspelt")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_what_a_shard_has_besides_clips_is_told(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path
) -> None:
    clip = (videos / "v0.mp4").read_bytes()
    whole = write_shard(
        tmp_path / "s.tar", {f"{n}": clip if n in (0, 2, 5, 8) else b"no video" for n in range(10)}
    )
    report = evaluate(tokenizer, [whole], tmp_path / "out", QUICK)
    assert report["clips"] == 4
    assert [entry["source"] for entry in report["unreadable"]] == [f"{whole}#{n}" for n in (1, 3, 4, 6, 7, 9)]
    page = (tmp_path / "out" / "report.md").read_text()
    assert "6 videos, shards or samples could not be read to their end:" in page
    assert f"- {whole}#9: not a sound video (its first bytes are not those of a video: MP4, " in page

    limited = evaluate(tokenizer, [whole], tmp_path / "limited", replace(QUICK, max_clips=2))
    assert [entry["source"] for entry in limited["unreadable"]] == [f"{whole}#1"]

    cut = write_shard(tmp_path / "cut.tar", {f"{n}": clip for n in range(4)})
    Path(cut).write_bytes(Path(cut).read_bytes()[: 3 * len(clip)])
    report = evaluate(tokenizer, [cut], tmp_path / "cut", QUICK)
    assert 0 < report["clips"] < 4
    assert report["unreadable"] == [{"source": cut, "message": "not a sound tar file"}]


def test_shards_without_a_clip_are_an_error(tokenizer: VideoTokenizer, tmp_path: Path) -> None:
    junk = write_shard(tmp_path / "s.tar", {"a": b"no video", "b": b""})
    with pytest.raises(NoDataError, match=r"no clip could be read \(.*s\.tar#a: not a sound video"):
        evaluate(tokenizer, [junk], tmp_path / "out", QUICK)


def test_asked_for_networks_without_weights_are_an_error(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path
) -> None:
    options = EvaluationOptions(vgg16_weights=str(tmp_path / "missing.pth"), fvd=False)
    with pytest.raises(WeightsError, match=r"missing\.pth"):
        evaluate(tokenizer, [str(videos)], tmp_path / "out", options)


def test_networks_add_their_figures(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The frozen networks have random weights here. Real ones are downloaded or named by the user."""
    torch.manual_seed(0)
    monkeypatch.setattr(run, "load_lpips", lambda _: LPIPS().eval())
    monkeypatch.setattr(run, "load_i3d", lambda _: I3D().eval())
    options = EvaluationOptions(max_clips=2, codec_clips=0, shown_clips=1)
    report = evaluate(tokenizer, [str(videos)], tmp_path / "out", options)
    assert report["missing"] == {}
    assert report["lpips"] is not None
    assert report["rfvd"] >= 0
    report = evaluate(tokenizer, [str(videos)], tmp_path / "one", replace(options, max_clips=1))
    assert report["missing"] == {"rFVD": "it needs two clips or more"}


def test_an_output_that_cannot_be_written(tokenizer: VideoTokenizer, videos: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataWriteError, match="file"):
        evaluate(tokenizer, [str(videos)], tmp_path / "file" / "out", QUICK)


def test_an_output_that_cannot_be_written_is_known_before_anything_is_measured(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: object) -> object:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("training.evaluate.report.folder.TemporaryFile", read_only)
    monkeypatch.setattr(run, "measure", lambda *_: pytest.fail("measured"))
    with pytest.raises(DataWriteError, match="Read-only file system"):
        evaluate(tokenizer, [str(videos)], tmp_path / "out", QUICK)


def test_a_report_that_cannot_be_written_leaves_the_one_before_as_it_was(
    tokenizer: VideoTokenizer, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, *_: object) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    output = tmp_path / "out"
    evaluate(tokenizer, [str(videos)], output, QUICK)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    monkeypatch.setattr(run, "contact_sheet", full)
    with pytest.raises(DataWriteError, match="No space left on device"):
        evaluate(tokenizer, [str(videos)], output, replace(QUICK, max_clips=1))
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_the_command(tiny_weights: Path, videos: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(tiny_weights), str(videos), "--output", str(tmp_path / "out")]
    arguments += ["--no-lpips", "--no-fvd", "--codec-clips", "0", "--max-clips", "2", "--device", "cpu"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "| Clips | 2 (10 frames) |" in result.output
    assert (tmp_path / "out" / "report.json").exists()


@pytest.mark.slow
def test_the_command_compares_and_says_which_checkpoint_it_took(videos: Path, tmp_path: Path) -> None:
    config = tiny_config(
        tmp_path / "run", "loop.steps=3", "validation.every_steps=2", "validation.lpips=false"
    )
    whole_runs.run(config, validate=True)
    best = json.loads((tmp_path / "run/checkpoints/best.json").read_text())
    arguments = ["evaluate", str(tmp_path / "run"), str(videos), "--output", str(tmp_path / "out")]
    arguments += ["--no-lpips", "--no-fvd", "--codec-clips", "1", "--shown-clips", "0", "--device", "cpu"]
    arguments += ["--against", "tests.training.evaluate.codecs.my_codec:curve"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    step = f"step-{best['step']:08}"
    assert f"run, {step} (the best by validation, psnr {best['value']:.4g})" in result.output
    assert "raw, 5 bits" in result.output

    newest = CliRunner().invoke(app, [*arguments, "--which", "newest"], catch_exceptions=False)
    assert "run, step-00000003 (the newest)" in newest.output
    weights = json.loads((tmp_path / "out/report.json").read_text())["weights"]
    assert (weights["checkpoint"], weights["chosen"]) == ("step-00000003", "the newest")

    refused = CliRunner().invoke(app, [*arguments, "--codec-clips", "0"])
    assert refused.exit_code == 2
    assert "--against needs clips" in refused.output


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_is_not_there_is_a_usage_error(
    device: str, tiny_weights: Path, videos: Path, tmp_path: Path
) -> None:
    arguments = ["evaluate", str(tiny_weights), str(videos), "--output", str(tmp_path), "--device", device]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "--device" in result.output
