"""Trackers: one run however often it is started, each step once, with its settings and its videos."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.utils import LoggerType
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cvivit.errors import ConfigError
from tests.training.tiny_run import Noise, tiny_config
from tests.training.whole_runs import run
from training.run.batch import Batch
from training.run.tracking.step_log import read_log
from training.run.tracking.trackers import NAMES_FILE, RunTrackers, refuse_absent

TENSORBOARD = "tracking.trackers=tensorboard"


class Failing(Noise):
    """Fails once before the sixth batch, after steps that no checkpoint holds."""

    failed = False

    def __iter__(self) -> Iterator[Batch]:
        for batch in super().__iter__():
            if self.position == 6 and not Failing.failed:
                Failing.failed = True
                raise RuntimeError("killed")
            yield batch


def read_events(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "phenaki-cvivit"), size_guidance={"images": 0, "scalars": 0})
    events.Reload()
    return events


def test_tensorboard_has_every_step_once_after_a_kill(tmp_path: Path) -> None:
    config = tiny_config(tmp_path, "loop.steps=8", TENSORBOARD)
    with pytest.raises(RuntimeError, match="killed"):
        run(config, noise=Failing)
    assert [event.step for event in read_events(tmp_path).Scalars("loss")] == [1, 2, 3, 4, 5]
    run(config, noise=Failing)
    assert [event.step for event in read_events(tmp_path).Scalars("loss")] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_tensorboard_gets_the_settings_and_the_sample_videos(tmp_path: Path) -> None:
    run(tiny_config(tmp_path, "loop.steps=1", "validation.videos=2", TENSORBOARD), validate=True)
    events = read_events(tmp_path)
    (settings,) = events.Tensors("configuration/text_summary")
    text = settings.tensor_proto.string_val[0].decode()
    assert json.loads(text)["loop"]["steps"] == 1
    assert {"validation_flicker", "validation_brightness_shift"} <= set(events.Tags()["scalars"])
    (record,) = read_log(tmp_path / "log.jsonl")
    for index, psnr in enumerate(record["validation_psnr_by_frame"]):
        (event,) = events.Scalars(f"validation_psnr_by_frame/{index:02}")
        assert event.value == pytest.approx(psnr)
    assert events.Tags()["images"] == ["samples/clip-0", "samples/clip-1"]
    (animation,) = events.Images("samples/clip-0")
    with Image.open(io.BytesIO(animation.encoded_image_string)) as image:
        assert (image.format, image.size, getattr(image, "n_frames", 1)) == ("GIF", (64, 32), 5)


class RecordedRun:
    """The run of a stand-in for a tracker's library, which records what it is given."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.logged: list[tuple[dict[str, Any], int]] = []

    def log(self, values: dict[str, Any], step: int) -> None:
        self.logged.append((values, step))

    def finish(self) -> None:
        pass


@pytest.mark.parametrize(("library", "option"), [("wandb", "id"), ("trackio", "name")])
def test_every_start_continues_the_same_run_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str, option: str
) -> None:
    """The library is asked for two things: to use an id that belongs to the run, and to resume it."""
    runs: list[RecordedRun] = []
    settings: dict[str, Any] = {}
    module: Any = ModuleType(library)

    def init(**options: Any) -> RecordedRun:
        runs.append(RecordedRun(options))
        return runs[-1]

    module.init = init
    module.config = type("Config", (), {"update": lambda _self, values, **_: settings.update(values)})()
    module.Video = lambda path, format: ("video", path, format)  # noqa: A006
    monkeypatch.setitem(sys.modules, library, module)
    monkeypatch.setattr("accelerate.tracking._available_trackers", [LoggerType(library)])
    config = tiny_config(tmp_path, f"tracking.trackers={library}")
    for step in (0, 4):
        accelerator = Accelerator(cpu=True, log_with=[library], project_dir=tmp_path)
        trackers = RunTrackers(accelerator, config, tmp_path, step=step)
        trackers.log({"loss": 1.0, "psnr_by_frame": [20.0, 21.0]}, step + 1)
        video = tmp_path / "clip-0.mp4"
        video.write_bytes(b"")
        trackers.log_videos([video], step + 1, fps=8)
        trackers.finish()
    assert [started.options["resume"] for started in runs] == ["allow", "allow"]
    assert runs[0].options[option] == runs[1].options[option]
    assert runs[0].options[option] == json.loads((tmp_path / NAMES_FILE).read_text())["run"]
    assert settings["loop"]["steps"] == config.loop.steps
    assert runs[1].logged == [
        ({"loss": 1.0, "psnr_by_frame/00": 20.0, "psnr_by_frame/01": 21.0}, 5),
        ({"samples/clip-0": ("video", str(video), "mp4")}, 5),
    ]


def test_trackers_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.run.tracking.trackers.get_available_trackers", lambda: ["tensorboard"])
    refuse_absent(["tensorboard"])
    with pytest.raises(ConfigError, match=r"tracking\.trackers: trackio, wandb "):
        refuse_absent(["wandb", "tensorboard", "trackio"])
