"""Save the state of the learner and of every process to a checkpoint, and load it again."""

from __future__ import annotations

import json
from typing import Any

import torch

from training.config.schema import TrainingConfig
from training.config.stages import READING
from training.errors import CheckpointCorruptError, CheckpointMismatchError, CheckpointWriteError
from training.run import distributed
from training.run.batch import BatchSource
from training.run.learner import Learner, begun
from training.run.saving.checkpoint import Best, Checkpoint, CheckpointStore
from training.run.saving.networks import fields_that_differ, settings_for


def topology(config: TrainingConfig) -> dict[str, int]:
    """Return what must stay the same for a resumed run to equal one that was never stopped.

    The source of batches checks the rest, on which the position in the data depends.
    """
    return {"processes": distributed.world_size(), "accumulation": config.loop.accumulation}


def save(
    store: CheckpointStore,
    learner: Learner,
    position: dict[str, Any],
    step: int,
    *,
    best: Best | None = None,
    unvalidated: dict[str, Any] | None = None,
) -> None:
    """Save the run after `step` optimizer steps. Every process calls this, and the first one writes.

    Args:
        store: the checkpoints of the run.
        learner: what learns.
        position: this process's position in the data, from `BatchSource.state_dict`.
        step: optimizer steps taken.
        best: the record that this step set, if it set one.
        unvalidated: the figures of this step, if its validation was interrupted.

    Raises:
        CheckpointWriteError: in every process, if the first one could not write.
    """
    own = {"random": _random_state(learner), "data": position, "codebook": learner.codebook.state_dict()}
    processes = distributed.gather(own)
    fault = None
    if distributed.rank() == 0:
        try:
            store.save(
                Checkpoint(
                    step=step,
                    modules={name: module.state_dict() for name, module in learner.modules().items()},
                    network=learner.config.model.model_dump(mode="json"),
                    training={
                        **learner.extra_state(),
                        "processes": processes,
                        "topology": topology(learner.config),
                        "freeze": list(learner.config.loop.freeze),
                        "unvalidated": json.dumps(unvalidated),
                    },
                    origins=learner.origins,
                ),
                best=best,
            )
        except CheckpointWriteError as error:
            fault = str(error)
    # The others wait here for the writer, so that no process takes the next step if it failed.
    fault = distributed.from_first_process(fault)
    if fault is not None:
        raise CheckpointWriteError(fault)


def newest(store: CheckpointStore) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest sound checkpoint, if there is any, and the faults of newer ones.

    Raises:
        CheckpointCorruptError: there are checkpoints, and none is sound.
    """
    found, faults = distributed.from_first_process(_find(store) if distributed.rank() == 0 else (None, []))
    if isinstance(found, str):
        raise CheckpointCorruptError(found)
    return store.load(found) if found is not None else None, faults


def unvalidated_figures(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    """Return the figures of a checkpoint's step, if the run was stopped during the validation after it."""
    if checkpoint is None:
        return None
    figures: dict[str, Any] | None = json.loads(checkpoint.training.get("unvalidated", "null"))
    return figures


def restore(checkpoint: Checkpoint, learner: Learner, source: BatchSource, *, before: TrainingConfig) -> None:
    """Load a checkpoint into a learner and a source of batches.

    Args:
        checkpoint: of this run.
        learner: what learns in the stage that goes on or begins.
        source: the batches of that stage.
        before: the settings that the checkpoint should have been saved with: those of its last step.

    Raises:
        CheckpointMismatchError: it is of another network, of a run with other frozen parts, or of another
            topology and that is not allowed.
    """
    _refuse_another_run(checkpoint, before)
    now = learner.config
    learner.load_state(dict(checkpoint.modules), dict(checkpoint.training), new=begun(before, now))
    learner.origins = checkpoint.origins
    # With another number of processes, which was allowed, positions are only starting points.
    processes = checkpoint.training["processes"]
    mine = processes[distributed.rank() % len(processes)]
    if all(getattr(before.data, name) == getattr(now.data, name) for name in READING):
        source.load_state_dict(mine["data"])
    else:
        source.start_after([process["data"] for process in processes])
    if len(processes) == distributed.world_size():
        _set_random_state(learner, mine["random"])
        learner.codebook.load_state_dict(mine.get("codebook", {"first_tokens": None}))


def take_over(store: CheckpointStore, checkpoint: Checkpoint | None, faults: list[str]) -> list[str]:
    """Move damaged checkpoints that are newer than the one that was restored aside.

    Returns:
        their faults, with their new names.

    Raises:
        CheckpointWriteError: they cannot be moved.
    """
    if checkpoint is None or distributed.rank() != 0:
        return faults
    aside = store.take_over(checkpoint.step)
    return [f"{fault}; it is now {name}" for fault, name in zip(faults, aside, strict=True)]


def _find(store: CheckpointStore) -> tuple[int | str | None, list[str]]:
    """Return the newest sound step, or a text that says what is wrong with all of them."""
    store.clean()
    try:
        return store.newest_sound()
    except CheckpointCorruptError as error:
        return str(error), []


def _refuse_another_run(checkpoint: Checkpoint, config: TrainingConfig) -> None:
    differing = fields_that_differ(config.model, checkpoint.network)
    if differing:
        raise CheckpointMismatchError(
            f"the checkpoint at step {checkpoint.step} is of a network with other {', '.join(differing)}; "
            f"to continue it, add {settings_for(checkpoint.network, differing)}, or start a new run in "
            "another checkpoint.directory from its weights by checkpoint.weights"
        )
    frozen, wanted = (
        json.dumps(list(parts)) for parts in (checkpoint.training.get("freeze", ()), config.loop.freeze)
    )
    if frozen != wanted:
        raise CheckpointMismatchError(
            f"the run was saved with loop.freeze={frozen}, not {wanted}: continue it so, or start a new run "
            "in another checkpoint.directory from its weights by checkpoint.weights"
        )
    saved, now = checkpoint.training["topology"], topology(config)
    if saved != now and not config.checkpoint.allow_topology_change:
        differing = [name for name in now if saved.get(name) != now[name]]
        changes = ", ".join(f"{name} {saved.get(name)} -> {now[name]}" for name in differing)
        raise CheckpointMismatchError(
            f"the run was saved with another topology ({changes}); "
            "checkpoint.allow_topology_change=true accepts that"
        )


def _random_state(learner: Learner) -> dict[str, Any]:
    state = {"cpu": torch.get_rng_state()}
    if learner.accelerator.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(learner.accelerator.device)
    return state


def _set_random_state(learner: Learner, state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and learner.accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], learner.accelerator.device)
