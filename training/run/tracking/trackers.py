"""The trackers of a run: TensorBoard, Weights & Biases and trackio, started by accelerate.

A run is one run in each tracker, however often it is stopped and started. Where a tracker gives names to
runs, the name is kept in `trackers.json` in the folder of the run. A killed run has usually sent figures of
steps that come after its last checkpoint, and these steps are taken again:

- TensorBoard is told to forget them (`purge_step`).
- Weights & Biases and trackio keep the first value of a step. It is the same value, since a resumed run takes
  the same steps.
"""

from __future__ import annotations

import importlib
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from accelerate import Accelerator
from accelerate.tracking import GeneralTracker, get_available_trackers

from cvivit.errors import ConfigError
from cvivit.files import replacing
from cvivit.video import ClipFormat, display_size, encode_video, read_frames
from training.config.schema import TrainingConfig

NAMES_FILE: Final = "trackers.json"
"""Name of the file, in the folder of a run, that keeps the run's names in the trackers."""


def refuse_absent(trackers: Sequence[str]) -> None:
    """Raise ConfigError if a tracker is not installed. accelerate would leave it out without an error."""
    present = {str(tracker) for tracker in get_available_trackers()}
    absent = sorted(set(trackers) - present - {"all"})
    if absent:
        raise ConfigError(
            f"tracking.trackers: {', '.join(absent)} is not installed, or is not a tracker of accelerate's"
        )


class RunTrackers:
    """The trackers that a configuration names, on the first process alone.

    Args:
        accelerator: starts the trackers.
        config: the run.
        directory: folder of the run.
        step: optimizer steps already taken.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(
        self, accelerator: Accelerator, config: TrainingConfig, directory: Path, *, step: int
    ) -> None:
        self._trackers: list[GeneralTracker] = []
        names = config.tracking.trackers
        if not names or not accelerator.is_main_process:
            return
        identity = _run_name(directory)
        accelerator.init_trackers(
            config.tracking.project,
            init_kwargs={
                "tensorboard": {"purge_step": step + 1},
                "wandb": {"id": identity, "name": directory.name, "dir": str(directory), "resume": "allow"},
                "trackio": {"name": identity, "resume": "allow"},
            },
        )
        self._trackers = [accelerator.get_tracker(name) for name in names]
        settings = config.model_dump(mode="json")
        for tracker in self._trackers:
            if tracker.name == "tensorboard":  # the tracker's own form for settings takes no nested ones
                text = json.dumps(settings, indent=4).replace("\n", "\n    ")
                tracker.writer.add_text("configuration", f"    {text}", global_step=step)
            else:
                tracker.store_init_configuration(settings)

    def log(self, figures: Mapping[str, Any], step: int) -> None:
        """Send the figures of a step. A list is sent as one figure for each index, as `psnr_by_frame/03`."""
        for tracker in self._trackers:
            tracker.log(_one_by_one(figures), step=step)

    def log_videos(self, videos: Sequence[Path], step: int, *, fps: float) -> None:
        """Send MP4 files, each under its name."""
        for tracker in self._trackers:
            if tracker.name == "tensorboard":
                _add_animations(tracker.writer, videos, step, fps=fps)
            else:
                library = importlib.import_module(tracker.name)
                named = {f"samples/{path.stem}": library.Video(str(path), format="mp4") for path in videos}
                tracker.log(named, step=step)

    def finish(self) -> None:
        """Let the trackers send their remaining data."""
        for tracker in self._trackers:
            tracker.finish()


def _one_by_one(figures: Mapping[str, Any]) -> dict[str, Any]:
    single = {name: value for name, value in figures.items() if not isinstance(value, list)}
    lists = {name: value for name, value in figures.items() if isinstance(value, list)}
    return single | {
        f"{name}/{index:02}": value for name, values in lists.items() for index, value in enumerate(values)
    }


def _run_name(directory: Path) -> str:
    """Return the name of the run in trackers, which is made once and kept in the folder of the run."""
    path = directory / NAMES_FILE
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["run"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        name = secrets.token_hex(4)
    with replacing(path) as file:
        file.write(json.dumps({"run": name}).encode())
    return name


def _add_animations(writer: Any, videos: Sequence[Path], step: int, *, fps: float) -> None:
    """Add videos to TensorBoard as GIFs, the only moving pictures it shows.

    torch's own `add_video` makes the same of them, but needs moviepy for it.
    """
    from tensorboard.compat.proto.summary_pb2 import Summary

    for path in videos:
        own = ClipFormat(image_size=display_size(path), fps=fps, fit="stretch")
        frames = list(read_frames(path, own, threads=1))
        height, width = frames[0].shape[:2]
        image = Summary.Image(
            height=height,
            width=width,
            colorspace=3,
            encoded_image_string=encode_video(frames, fps=fps, container="gif"),
        )
        value = Summary.Value(tag=f"samples/{path.stem}", image=image)
        writer._get_file_writer().add_summary(Summary(value=[value]), step)
    writer.flush()
