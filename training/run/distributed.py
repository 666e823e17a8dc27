"""What processes of a run tell each other. Alone, a process agrees with itself at no cost."""

from __future__ import annotations

import atexit
import os
import sys
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def join_process_group(*, cpu: bool) -> None:
    """Join the processes that a launcher started, if it started several.

    Restarted by torchrun, processes meet under names of their own: in the store of the attempt before, a
    process that is gone may still be announced, and connecting to it fails (seen with torch 2.13).
    """
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    gpu = not cpu and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank_, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    names = dist.PrefixStore(f"attempt-{attempt}", store)  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if gpu else "gloo", store=names, rank=rank_, world_size=size)


def exit_process(code: int) -> NoReturn:
    """End this process with an exit code, whoever else is still there.

    gloo's threads outlive the interpreter of a process that has joined others, and one that still runs when
    C++ destroys what it belongs to aborts the process (1 of 9 runs of two ranks with torch 2.13): all was
    saved, and the exit code that says so was lost. So what Python has to do at exit is done, and nothing is
    destroyed. Destroying the group instead can wait for ever (`training.run.tracking.step_log`).
    """
    if is_distributed():
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def is_distributed() -> bool:
    """Return whether there is any other process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return which process this is, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return how many processes there are."""
    return dist.get_world_size() if is_distributed() else 1


def sum_(tensor: Tensor) -> Tensor:
    """Replace a tensor by its sum over processes, and return it."""
    if is_distributed():
        dist.all_reduce(tensor)
    return tensor


def broadcast_(tensor: Tensor) -> Tensor:
    """Replace a tensor by that of process 0, and return it."""
    if is_distributed():
        dist.broadcast(tensor, src=0)
    return tensor


def from_first_process(value: T) -> T:
    """Return process 0's value (anything that pickles)."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: T) -> list[T]:
    """Return every process's value (anything that pickles), by rank."""
    if not is_distributed():
        return [value]
    values: list[T | None] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values  # type: ignore[return-value]


def any_process(flag: bool, device: torch.device) -> bool:
    """Return whether the flag is set in any process."""
    if not is_distributed():
        return flag
    return bool(sum_(torch.tensor(float(flag), device=device)).item())
