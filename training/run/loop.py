"""The training loop: from a configuration and a source of batches to checkpoints and a log.

A run goes through its stages one after the other (`training.run.stage`). A stage ends with a checkpoint, and
the next one begins by loading it, exactly as a run that was killed there would. So there is one way to go
on, and what a stage changes is made anew: averaged weights, a discriminator, the wrapper of several
processes, the readers of the data, compiled code.
"""

from __future__ import annotations

from pathlib import Path

import torch
from accelerate import Accelerator

from cvivit.errors import ConfigError
from cvivit.folders import typed_write_errors
from cvivit.runtime.precision import has_bfloat16
from training.config.loading import save_config
from training.config.schema import TrainingConfig
from training.run import distributed
from training.run.interruption import Interruption
from training.run.learner import make_accelerator
from training.run.saving import snapshot
from training.run.saving.checkpoint import Checkpoint, CheckpointStore
from training.run.saving.starting_weights import Start, starting_weights
from training.run.stage import Clips, HeldOutFactory, Reporting, SourceFactory, Stage
from training.run.tracking.progress import ProgressBar
from training.run.tracking.step_log import RunLog
from training.run.tracking.trackers import refuse_absent


def train(
    config: TrainingConfig,
    source: SourceFactory,
    held_out: HeldOutFactory = lambda *_: None,
    held_out_stills: HeldOutFactory = lambda *_: None,
) -> Path:
    """Start or continue a run, and return its folder.

    Every process of the run calls this with the same configuration. The run continues from the newest sound
    checkpoint in the folder.

    Args:
        config: the run.
        source: makes the training batches of this process. Every stage calls it with its own settings, and so
            it does the next two.
        held_out: makes the clips to validate on. Without them and without stills, nothing is validated.
        held_out_stills: makes the stills to validate on.

    Raises:
        TrainingInterrupted: SIGTERM or SIGUSR1 came. The run was saved, and can be started again.
        NonFiniteLossError: a loss or gradient was not finite.
        CheckpointError: a checkpoint could not be written or read, or is of another run.
        ConfigError: the folder has checkpoints and `checkpoint.resume` is off.
        OutputMismatchError: another run is writing to the folder.
        DataError: the data cannot be read, or its clips have another frame rate than the model.
        DataWriteError: the folder, the log or samples cannot be written.
        WeightsError: weights of a frozen network, or those to start from, are missing or damaged.
    """
    with Interruption(at_once=True) as interruption:
        if config.loop.threads is not None:
            torch.set_num_threads(config.loop.threads)
        directory = Path(config.checkpoint.directory)
        refuse_absent(config.tracking.trackers)
        accelerator = make_accelerator(
            config, log_with=list(config.tracking.trackers) or None, project_dir=directory
        )
        clips = Clips(source=source, held_out=held_out, held_out_stills=held_out_stills)
        with distributed.locked_by_first_process(directory):
            run = Run(config, accelerator, clips)
            interruption.defer()
            try:
                run.go(interruption)
            finally:
                with typed_write_errors(directory):
                    run.reporting.log.close()
    return directory


class Run:
    """One run in one process: its folder, its log, and the stage it is in.

    Args:
        config: the run.
        accelerator: the processes it runs in.
        clips: where the clips of this process come from.
    """

    def __init__(self, config: TrainingConfig, accelerator: Accelerator, clips: Clips) -> None:
        self.config = config
        self.accelerator = accelerator
        self._clips = clips
        directory = Path(config.checkpoint.directory)
        self.store = CheckpointStore(directory, keep=config.checkpoint.keep)
        if not config.checkpoint.resume and self.store.steps():
            raise ConfigError(f"{directory} has checkpoints, and checkpoint.resume is false")
        start = None
        with accelerator.local_main_process_first():  # one process of a machine downloads for all of them
            if not self.store.steps():
                start = starting_weights(config)
        checkpoint, faults = snapshot.newest(self.store)
        self.stage: Stage | None = self._stage(checkpoint, start)
        faults = snapshot.take_over(self.store, checkpoint, faults)
        step = self.stage.step
        if accelerator.is_main_process:
            with typed_write_errors(directory):
                save_config(config, directory)
        with typed_write_errors(directory):
            log = RunLog(directory, accelerator, config, step=step)
        shown = config.tracking.progress and accelerator.is_main_process
        self.reporting = Reporting(log=log, bar=ProgressBar(steps=config.loop.steps, start=step, shown=shown))
        notes = [f"passed over a checkpoint: {fault}" for fault in faults]
        notes += [f"resuming after step {step}"] if step else []
        if config.loop.freeze and not self.stage.learner.origins:
            notes.append("loop.freeze keeps random weights: checkpoint.weights names none to start from")
        if config.loop.precision == "bfloat16" and not has_bfloat16(accelerator.device):
            notes.append("this device emulates bfloat16: loop.precision=float32 is about three times as fast")
        notes += [
            f"the stage from step {stage.from_step} never begins: loop.steps is {config.loop.steps}"
            for stage in config.stages
            if stage.from_step >= config.loop.steps
        ]
        for note in notes if accelerator.is_main_process else ():
            self.reporting.bar.note(note)

    def go(self, interruption: Interruption) -> None:
        """Take the steps that are left, stage after stage, and save.

        Raises:
            TrainingInterrupted: a stop was asked for, and the run was saved.
        """
        stop = distributed.StopRequests(lambda: interruption.signal is not None)
        with self.reporting.bar:
            while self.stage is not None:
                self.stage.go(self.reporting, stop, interruption)
                step, self.stage = self.stage.step, None
                if step < self.config.loop.steps:
                    self.stage = self._next_stage(step)

    def _next_stage(self, step: int) -> Stage:
        # Networks of the stage before must be gone before those of the next one are made.
        self.accelerator.free_memory()
        stage = self._stage(self.store.load(step), None)
        if self.accelerator.is_main_process:
            settings = next(stage for stage in self.config.stages if stage.from_step == step)
            self.reporting.bar.note(f"from step {step} on: {settings}")
        return stage

    def _stage(self, checkpoint: Checkpoint | None, start: Start | None) -> Stage:
        return Stage(self.config, self.accelerator, self._clips, self.store, checkpoint, start)
