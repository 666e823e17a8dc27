"""Between a running learner and a checkpoint: what every process has to save, and to take over again."""

from __future__ import annotations

from typing import Any

import torch

from training.config.schema import TrainingConfig
from training.errors import CheckpointCorruptError, CheckpointMismatchError, CheckpointWriteError
from training.run import distributed
from training.run.batch import BatchSource
from training.run.learner import Learner, network_fields_that_differ
from training.run.saving.checkpoint import Best, Checkpoint, CheckpointStore


def topology(config: TrainingConfig) -> dict[str, int]:
    """Return what must stay the same for a resumed run to equal one that was never stopped.

    What the position in the data depends on besides is checked by the source of batches.
    """
    return {"processes": distributed.world_size(), "accumulation": config.loop.accumulation}


def save(
    store: CheckpointStore, learner: Learner, source: BatchSource, step: int, *, best: Best | None = None
) -> None:
    """Save the run after `step` optimizer steps. Every process calls it, the first one writes.

    Raises:
        CheckpointWriteError: in every process, if the first could not write.
    """
    processes = distributed.gather({"random": _random_state(learner), "data": source.state_dict()})
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
                    },
                ),
                best=best,
            )
        except CheckpointWriteError as error:
            fault = str(error)
    fault = distributed.from_first_process(fault)
    if fault is not None:
        raise CheckpointWriteError(fault)


def resume(store: CheckpointStore, learner: Learner, source: BatchSource) -> tuple[int, list[str]]:
    """Take over the newest sound checkpoint; return its step, 0 without one, and the faults of newer ones.

    Those are moved aside, once nothing stands in the way of going on.

    Raises:
        CheckpointCorruptError: there are checkpoints, and none is sound.
        CheckpointMismatchError: it is of another network, or of another topology and that is not allowed.
        CheckpointWriteError: newer ones cannot be moved.
    """
    found, faults = distributed.from_first_process(_find(store) if distributed.rank() == 0 else (None, []))
    if isinstance(found, str):
        raise CheckpointCorruptError(found)
    if found is None:
        return 0, faults
    checkpoint = store.load(found)
    _refuse_another_run(checkpoint, learner.config)
    learner.load_state(dict(checkpoint.modules), dict(checkpoint.training))
    processes = checkpoint.training["processes"]
    mine = processes[distributed.rank() % len(processes)]
    source.load_state_dict(mine["data"])
    if len(processes) == distributed.world_size():
        _set_random_state(learner, mine["random"])
    if distributed.rank() == 0:
        aside = store.take_over(found)
        faults = [f"{fault}; it is now {name}" for fault, name in zip(faults, aside, strict=True)]
    return found, faults


def _find(store: CheckpointStore) -> tuple[int | str | None, list[str]]:
    """Return the newest sound step, or what is wrong with all of them, for every process to hear."""
    store.clean()
    try:
        return store.newest_sound()
    except CheckpointCorruptError as error:
        return str(error), []


def _refuse_another_run(checkpoint: Checkpoint, config: TrainingConfig) -> None:
    differing = network_fields_that_differ(config.model, dict(checkpoint.network))
    if differing:
        raise CheckpointMismatchError(
            f"the checkpoint at step {checkpoint.step} is of a network with other {', '.join(differing)}"
        )
    saved, now = checkpoint.training["topology"], topology(config)
    if saved != now and not config.checkpoint.allow_topology_change:
        differing = [name for name in now if saved.get(name) != now[name]]
        changes = ", ".join(f"{name} {saved.get(name)} -> {now[name]}" for name in differing)
        raise CheckpointMismatchError(
            f"the run was saved with another topology ({changes}); checkpoint.allow_topology_change takes it"
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
