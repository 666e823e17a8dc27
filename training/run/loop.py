"""The training loop: from a configuration and a source of batches to checkpoints and a log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch
from accelerate import Accelerator

from cvivit.errors import ConfigError, CViViTError, WeightsMismatchError
from cvivit.weights import load_weights
from training.config.loading import save_config
from training.config.schema import TrainingConfig
from training.data.bad import SkippedSample
from training.errors import TrainingInterrupted
from training.folders import lock_folder, typed_write_errors
from training.losses.frozen import load_i3d, load_lpips
from training.losses.generator import GeneratorLosses
from training.losses.i3d import I3D
from training.losses.lpips import LPIPS
from training.run import distributed
from training.run.batch import Batch, BatchSource
from training.run.interruption import Interruption
from training.run.learner import Learner, StateDict, make_accelerator, network_fields_that_differ
from training.run.saving import snapshot
from training.run.saving.checkpoint import Best, CheckpointStore
from training.run.step import TrainingStep
from training.run.throughput import Throughput
from training.run.tracking.progress import ProgressBar
from training.run.tracking.samples import write_samples
from training.run.tracking.step_log import RunLog, StepRecord, refuse_absent
from training.run.validation import Validation, is_better, validate

SourceFactory = Callable[[int, int], BatchSource]
"""Makes the batches of one process from its rank and the number of processes."""
HeldOutFactory = Callable[[int, int], Iterable[Batch | SkippedSample]]
"""Makes the held-out clips of one process, which can be gone through again and again."""


def train(
    config: TrainingConfig,
    source: SourceFactory,
    held_out: HeldOutFactory | None = None,
) -> Path:
    """Train, or go on training, and return the folder of the run.

    Every process of a run calls it alike. It resumes from the newest sound checkpoint in the folder.

    Args:
        config: the run.
        source: makes the training batches of this process.
        held_out: makes the clips to validate on; without it nothing is validated.

    Raises:
        TrainingInterrupted: SIGTERM or SIGUSR1 came; the run was saved and can be started again.
        NonFiniteLossError: a loss or gradient was not finite.
        CheckpointError: a checkpoint could not be written, read, or taken over.
        ConfigError: the folder has checkpoints and `checkpoint.resume` is off.
        OutputMismatchError: another run is writing to the folder.
        DataWriteError: the folder, the log or samples cannot be written.
        WeightsError: weights of a frozen network, or those to start from, are missing or damaged.
    """
    if config.loop.threads is not None:
        torch.set_num_threads(config.loop.threads)
    directory = Path(config.checkpoint.directory)
    refuse_absent(config.tracking.trackers)
    accelerator = make_accelerator(
        config, log_with=list(config.tracking.trackers) or None, project_dir=directory
    )
    with _alone(directory, accelerator):
        run = Run(config, accelerator, source, held_out)
        try:
            run.go()
        finally:
            with typed_write_errors(directory):
                run.log.close()
    return directory


@contextmanager
def _alone(directory: Path, accelerator: Accelerator) -> Iterator[None]:
    """Hold the folder of the run, in the first process, and let every process know if that cannot be."""
    with ExitStack() as held:
        fault: CViViTError | None = None
        if accelerator.is_main_process:
            try:
                with typed_write_errors(directory):
                    held.enter_context(lock_folder(directory))
            except CViViTError as error:
                fault = error
        fault = distributed.from_first_process(fault)
        if fault is not None:
            raise fault
        yield


class Run:
    """One run in one process: what it holds between steps.

    Args:
        config: the run.
        accelerator: the processes it runs in.
        source: makes the training batches of this process.
        held_out: makes the clips to validate on.
    """

    def __init__(
        self,
        config: TrainingConfig,
        accelerator: Accelerator,
        source: SourceFactory,
        held_out: HeldOutFactory | None,
    ) -> None:
        rank, processes = accelerator.process_index, accelerator.num_processes
        self.config = config
        self.accelerator = accelerator
        self.directory = Path(config.checkpoint.directory)
        self.store = CheckpointStore(self.directory, keep=config.checkpoint.keep)
        if not config.checkpoint.resume and self.store.steps():
            raise ConfigError(f"{self.directory} has checkpoints, and checkpoint.resume is false")
        self.source = source(rank, processes)
        self.held_out = held_out(rank, processes) if held_out is not None else None
        with accelerator.local_main_process_first():  # one process of a machine downloads for all
            losses = GeneratorLosses.load(config.losses)
            self.lpips, self.i3d = self._validation_networks(losses)
            weights = _first_weights(config) if not self.store.steps() else None
        self.learner = Learner(config, accelerator, losses, weights=weights)
        self.step, faults = snapshot.resume(self.store, self.learner, self.source)
        if accelerator.is_main_process:
            with typed_write_errors(self.directory):
                save_config(config, self.directory)
        if config.tracking.trackers:
            accelerator.init_trackers(config.tracking.project)
        with typed_write_errors(self.directory):
            self.log = RunLog(
                self.directory, accelerator, step=self.step, every_steps=config.tracking.every_steps
            )
        self.bar = ProgressBar(
            steps=config.loop.steps,
            start=self.step,
            shown=config.tracking.progress and accelerator.is_main_process,
        )
        self.throughput = Throughput(config, accelerator.device, world_size=processes)
        notes = [f"passed over a checkpoint: {fault}" for fault in faults]
        notes += [f"resuming after step {self.step}"] if self.step else []
        for note in notes if accelerator.is_main_process else ():
            self.bar.note(note)

    def go(self) -> None:
        """Take the steps that are left, and save."""
        config = self.config
        take_step = TrainingStep(self.learner)
        saved = self.step
        batches = iter(self.source)
        with Interruption() as interruption, self.bar:
            self.throughput.pause()
            while self.step < config.loop.steps:
                micro_batches = [next(batches) for _ in range(config.loop.accumulation)]
                figures: StepRecord = dict(take_step(micro_batches, self.step))
                frames = [batch.video.shape[1] for batch in micro_batches]
                figures |= self.throughput.step(self.step, frames)
                self.step += 1
                figures |= {"epoch": self.source.epoch, "bad_samples": self._bad_samples()}
                last = self.step == config.loop.steps
                best = None
                if self.held_out is not None and (last or self.step % config.validation.every_steps == 0):
                    validation = self._validate()
                    figures |= {f"validation_{name}": value for name, value in validation.figures.items()}
                    best = self._best(validation)
                with typed_write_errors(self.directory):
                    self.log.write(self.step, figures)
                self.bar.advance(self.step, figures)
                stop = distributed.any_process(interruption.signal is not None, self.accelerator.device)
                if last or stop or best or self.step % config.checkpoint.every_steps == 0:
                    snapshot.save(self.store, self.learner, self.source, self.step, best=best)
                    saved = self.step
                    self.throughput.pause()
                if stop and not last:
                    name = interruption.signal.name if interruption.signal else "another process"
                    raise TrainingInterrupted(f"{name}: stopped and saved after step {saved}")

    def _bad_samples(self) -> int:
        """Return how many samples all processes have skipped."""
        own = torch.tensor(sum(self.source.bad_samples.values()), device=self.accelerator.device)
        return int(distributed.sum_(own))

    def _validation_networks(self, losses: GeneratorLosses) -> tuple[LPIPS | None, I3D | None]:
        """Return the frozen networks that validation looks through: those of the losses where it can."""
        config, device = self.config, self.accelerator.device
        if self.held_out is None:
            return None, None
        lpips = i3d = None
        if config.validation.lpips:
            lpips = losses.lpips or load_lpips(config.losses.vgg16_weights).to(device)
        if config.validation.fvd:
            i3d = losses.i3d or load_i3d(config.losses.i3d_weights).to(device)
        return lpips, i3d

    def _validate(self) -> Validation:
        assert self.held_out is not None
        validation = validate(
            self.learner.evaluated,
            self.held_out,
            self.config.validation,
            device=self.accelerator.device,
            lpips=self.lpips,
            i3d=self.i3d,
        )
        if self.accelerator.is_main_process:
            folder = self.directory / "samples"
            with typed_write_errors(folder):
                write_samples(validation.shown, folder, step=self.step, fps=self.config.model.fps)
            if not validation.figures["clips"]:
                reasons = "".join(f"; {reason}" for reason in validation.skipped[:1])
                self.bar.note(f"validation measured nothing: no held-out clip could be used{reasons}")
        self.throughput.pause()
        return validation

    def _best(self, validation: Validation) -> Best | None:
        """Return the record that this step sets, in every process alike, or None."""
        metric = self.config.checkpoint.best_metric
        value = validation.figures.get(metric)
        before = self.store.best() if self.accelerator.is_main_process else None
        before = distributed.from_first_process(before)
        than = before.value if before is not None and before.metric == metric else None
        if value is None or not is_better(metric, value, than):
            return None
        return Best(step=self.step, metric=metric, value=value)


def _first_weights(config: TrainingConfig) -> StateDict | None:
    """Return the weights that `checkpoint.weights` names, which must be of this run's network."""
    if config.checkpoint.weights is None:
        return None
    loaded = load_weights(config.checkpoint.weights)
    differing = network_fields_that_differ(config.model, loaded.config.model_dump(mode="json"))
    if differing:
        raise WeightsMismatchError(f"{loaded.name} is of a network with other {', '.join(differing)}")
    return loaded.state_dict
