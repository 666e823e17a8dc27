"""One stage of a run: what learns in it, its data, and its steps until the next stage begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate import Accelerator

from cvivit.folders import typed_write_errors
from training.config.schema import TrainingConfig, ValidationConfig
from training.errors import TrainingInterrupted
from training.losses.frozen import load_i3d, load_lpips
from training.losses.generator import GeneratorLosses
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS
from training.run import distributed
from training.run.batch import Batch, BatchSource
from training.run.feeding import Feeder, StoppedWaiting
from training.run.interruption import Interruption
from training.run.learner import Learner
from training.run.saving import snapshot
from training.run.saving.checkpoint import Best, Checkpoint, CheckpointStore
from training.run.saving.starting_weights import Start
from training.run.step import TrainingStep
from training.run.throughput import Throughput
from training.run.tracking.progress import ProgressBar
from training.run.tracking.samples import write_samples
from training.run.tracking.step_log import RunLog, StepRecord
from training.run.validation import HeldOutClips, Validation, is_better, validate

SourceFactory = Callable[[TrainingConfig, int, int], BatchSource]
"""Makes the batches of one process from the settings, its rank and the number of processes."""
HeldOutFactory = Callable[[TrainingConfig, int, int], HeldOutClips | None]
"""Makes the held-out clips of one process from the settings, its rank and the number of processes."""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Where the clips of a run come from."""

    source: SourceFactory
    held_out: HeldOutFactory
    """The clips to validate on, or None."""
    held_out_stills: HeldOutFactory


@dataclass(frozen=True, kw_only=True)
class Reporting:
    """What the stages of a run report to."""

    log: RunLog
    bar: ProgressBar


class Stage:
    """One stage of a run in one process, and what it holds between steps.

    Args:
        config: the whole run.
        accelerator: the processes it runs in.
        clips: the clips of this process.
        store: the checkpoints of the run.
        checkpoint: the point to go on from, or None for a new run. If a stage begins after its step, this is
            that stage.
        start: weights that a new run starts from.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        clips: Clips,
        store: CheckpointStore,
        checkpoint: Checkpoint | None,
        start: Start | None,
    ) -> None:
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.step = checkpoint.step if checkpoint is not None else 0
        self._unvalidated = snapshot.unvalidated_figures(checkpoint)
        # A validation that was cut off belongs to the stage of its step, also if a new one follows.
        place = self.step - 1 if self._unvalidated is not None else min(self.step, config.loop.steps - 1)
        self.first, self.end = config.start_of_stage(place), config.end_of_stage(place)
        self.config = config.at(place)
        self.accelerator = accelerator
        self.store = store
        self.source = clips.source(self.config, rank, processes)
        self.held_out = clips.held_out(self.config, rank, processes)
        self.held_out_stills = clips.held_out_stills(self.config, rank, processes)
        with accelerator.local_main_process_first():  # one process of a machine downloads for all of them
            losses = GeneratorLosses.load(self.config.losses)
            self.lpips, self.i3d = self._validation_networks(losses)
        self.learner = Learner(self.config, accelerator, losses, weights=start.state_dict if start else None)
        self.learner.origins = start.origins if start else ()
        if checkpoint is not None:
            snapshot.restore(checkpoint, self.learner, self.source, before=config.at(self.step - 1))
        self.throughput = Throughput(self.config, accelerator.device, world_size=processes)
        self._notes: set[str] = set()

    def go(self, reporting: Reporting, stop: distributed.StopRequests, interruption: Interruption) -> None:
        """Take the steps that are left of the stage, and save.

        A request to stop is seen at two places: while this process waits for data, and after each step. In
        both, all processes agree before any of them acts, since a process that left alone would leave the
        others waiting in the next collective for ever.

        Raises:
            TrainingInterrupted: a stop was asked for, and the run was saved.
        """
        self._reporting = reporting
        take_step = TrainingStep(self.learner)
        feeder = Feeder(
            iter(self.source), waiting_for=lambda: self.source.waiting_for, notice=self._note_waiting
        )
        try:
            self.throughput.pause()
            if self._unvalidated is not None:
                self._finish_step(self._unvalidated, stop, interruption)
            while self.step < self.end:
                # Saved if data fails to come: micro-batches of an unfinished step were not used yet.
                position = self.source.state_dict()
                waited = feeder.seconds_waited
                batches = self._next_batches(feeder, stop)
                began = time.monotonic()
                if stop.agree(batches is None, self.accelerator.device) or batches is None:
                    self._save(position=position)
                    raise TrainingInterrupted(self._farewell(interruption))
                waited = feeder.seconds_waited - waited + (time.monotonic() - began)
                figures: StepRecord = dict(take_step(batches, self.step))
                frames = [batch.video.shape[1] for batch in batches]
                figures |= self.throughput.step(self.step, frames, seconds_waited=waited)
                self.step += 1
                figures |= {"epoch": self.source.epoch, "bad_samples": self._bad_samples()}
                self._finish_step(figures, stop, interruption)
        finally:
            feeder.close()

    def _next_batches(self, feeder: Feeder[Batch], stop: Callable[[], bool]) -> list[Batch] | None:
        """Return the micro-batches of a step, or None if a request to stop came before all of them."""
        try:
            batches = [feeder.take(stop) for _ in range(self.config.loop.accumulation)]
        except StoppedWaiting:
            return None
        for note in (note for batch in batches for note in batch.notes if note not in self._notes):
            self._notes.add(note)
            self._reporting.bar.note(note)
        return batches

    def _finish_step(
        self, figures: StepRecord, stop: distributed.StopRequests, interruption: Interruption
    ) -> None:
        """Validate, log and save after step `self.step`, each where it is due, and stop if that was asked."""
        ends, last = self.step == self.end, self.step == self.config.loop.steps
        best = unvalidated = None
        validates = self.held_out is not None or self.held_out_stills is not None
        if validates and (ends or self.step % self.config.validation.every_steps == 0):
            found = self._validate(stop)
            if found is None:
                unvalidated = figures
            else:
                best = self._best(found)
                figures = figures | {f"validation_{name}": value for name, value in found.items()}
        if unvalidated is None:
            with typed_write_errors(self.store.directory):
                self._reporting.log.write(self.step, figures)
            self._reporting.bar.advance(self.step, figures)
        stopping = distributed.any_process(
            interruption.signal is not None or unvalidated is not None, self.accelerator.device
        )
        due = self.step % self.config.checkpoint.every_steps == 0
        if ends or stopping or best or due or self._unvalidated is not None:
            self._save(best=best, unvalidated=unvalidated)
            self.throughput.pause()
        self._unvalidated = None
        if stopping and (not last or unvalidated is not None):
            raise TrainingInterrupted(self._farewell(interruption))

    def _save(
        self,
        *,
        best: Best | None = None,
        unvalidated: StepRecord | None = None,
        position: dict[str, object] | None = None,
    ) -> None:
        snapshot.save(
            self.store,
            self.learner,
            self.source.state_dict() if position is None else position,
            self.step,
            best=best,
            unvalidated=unvalidated,
        )

    def _farewell(self, interruption: Interruption) -> str:
        name = interruption.signal.name if interruption.signal else "another process"
        return f"{name}: stopped and saved after step {self.step}"

    def _note_waiting(self, text: str) -> None:
        rank = self.accelerator.process_index
        text = f"rank {rank}: {text}" if self.accelerator.num_processes > 1 else text
        self._reporting.bar.note(text)

    def _bad_samples(self) -> int:
        """Return how many samples all processes have skipped."""
        own = sum(self.source.bad_samples.values())
        if not distributed.is_distributed():
            return own  # without a wait for the device
        return int(distributed.sum_(torch.tensor(own, device=self.accelerator.device)))

    def _validation_networks(self, losses: GeneratorLosses) -> tuple[LPIPS | None, I3D | None]:
        """Return the frozen networks that validation needs. Those of the losses are used again."""
        config, device = self.config, self.accelerator.device
        if self.held_out is None and self.held_out_stills is None:
            return None, None
        lpips = i3d = None
        if config.validation.lpips:
            lpips = losses.lpips or load_lpips(config.losses.vgg16_weights).to(device)
        if config.validation.fvd:
            i3d = losses.i3d or load_i3d(config.losses.i3d_weights).to(device)
        return lpips, i3d

    def _validate(self, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Validate and write samples. Return the figures, or None if a request to stop came first."""
        settings, figures = self.config.validation, dict[str, float]()
        if self.held_out_stills is not None:
            of_stills = settings.model_copy(update={"clips": settings.stills, "videos": 0})
            stills = self._validate_on(self.held_out_stills, of_stills, stop)
            if stills is None:
                return None
            figures |= {f"stills_{name}": value for name, value in stills.figures.items()}
        if self.held_out is not None:
            clips = self._validate_on(self.held_out, settings, stop)
            if clips is None:
                return None
            figures |= clips.figures
            if self.accelerator.is_main_process:
                folder = self.store.directory / "samples"
                with typed_write_errors(folder):
                    videos = write_samples(clips.shown, folder, step=self.step, fps=self.config.model.fps)
                    self._reporting.log.show(self.step, videos, fps=self.config.model.fps)
        return figures

    def _validate_on(
        self, held_out: HeldOutClips, settings: ValidationConfig, stop: Callable[[], bool]
    ) -> Validation | None:
        feeder = Feeder(
            iter(held_out),
            waiting_for=lambda: getattr(held_out, "waiting_for", "held-out clips"),
            notice=self._note_waiting,
        )
        try:
            validation = validate(
                self.learner.evaluated,
                feeder.iterate(stop),
                settings,
                device=self.accelerator.device,
                lpips=self.lpips,
                i3d=self.i3d,
                stop=stop,
            )
        finally:
            feeder.close()
            self.throughput.pause()
        if validation is not None and self.accelerator.is_main_process and not validation.figures["clips"]:
            reasons = "".join(f"; {reason}" for reason in validation.skipped[:1])
            self._reporting.bar.note(f"validation measured nothing: no held-out clip could be used{reasons}")
        return validation

    def _best(self, figures: dict[str, float]) -> Best | None:
        """Return the record that this step sets, the same in every process, or None.

        Each stage has records of its own: figures of other sizes, or with other losses, do not compare.
        """
        metric = self.config.checkpoint.best_metric
        value = figures.get(metric)
        before = self.store.best() if self.accelerator.is_main_process else None
        before = distributed.from_first_process(before)
        comparable = before is not None and before.metric == metric and before.step > self.first
        than = before.value if before is not None and comparable else None
        if value is None or not is_better(metric, value, than):
            return None
        return Best(step=self.step, metric=metric, value=value)
