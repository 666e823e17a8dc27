"""Communication between the processes of a run. In a run of one process, each function returns at once."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from cvivit.errors import CViViTError
from cvivit.folders import lock_folder, typed_write_errors
from training.run.feeding import THREAD_NAME

T = TypeVar("T")

STOP_KEY: Final = "stop"
STORE_POLL_SECONDS: Final = 0.5
"""How often a process that waits asks the store whether another one wants to stop."""
_SHORTEST_SLEEP_SECONDS: Final = 0.0001
_LONGEST_SLEEP_SECONDS: Final = 0.01

_store: Any = None
"""Key-value store of the processes, for messages outside of collectives."""


def join_process_group(*, cpu: bool) -> None:
    """Join the processes that a launcher started, if it started several.

    The processes of each attempt meet under a prefix of their own. After a restart by torchrun, the store may
    still announce a process of the attempt before that is gone, and connecting to it fails (seen with torch
    2.13).
    """
    global _store
    if dist.is_initialized() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return
    gpu = not cpu and torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    store, rank_, size = next(dist.rendezvous("env://"))  # type: ignore[attr-defined]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    _store = dist.PrefixStore(f"attempt-{attempt}", store)  # type: ignore[attr-defined]
    # With its device, NCCL connects at once, and need not guess the device of a barrier.
    device = torch.device("cuda", torch.cuda.current_device()) if gpu else None
    dist.init_process_group(
        "nccl" if gpu else "gloo", store=_store, rank=rank_, world_size=size, device_id=device
    )


def exit_process(code: int) -> NoReturn:
    """End this process with an exit code, whatever the other processes do.

    A process that has joined others skips the destructors of C++. gloo's threads outlive the interpreter,
    and one that still runs when its objects are destroyed aborts the process (1 of 9 runs of two ranks with
    torch 2.13). Everything was saved by then, but the exit code that says so was lost. Destroying the group
    instead can block for ever (see `training.run.tracking.step_log`). What Python has to do at exit is done.

    The same holds for a thread that still hangs in a read of data: if it returned into C++ code while the
    interpreter ends, it would abort the process.
    """
    hangs = any(thread.name == THREAD_NAME for thread in threading.enumerate())
    if hangs:
        # Readers outlive a first SIGTERM for half a minute, which Python's own exit would wait for.
        for reader in multiprocessing.active_children():
            reader.kill()
    if is_distributed() or hangs:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def is_distributed() -> bool:
    """Return whether there is any other process."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """Return the number of this process, from 0."""
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
    """Return the value that process 0 passed (anything that pickles)."""
    if not is_distributed():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather(value: T) -> list[T]:
    """Return the values that the processes passed (anything that pickles), by rank."""
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


@contextmanager
def locked_by_first_process(directory: Path) -> Iterator[None]:
    """Lock a folder in the first process. If that fails, every process raises the error.

    Raises:
        OutputMismatchError: another run has the lock.
        DataWriteError: the folder cannot be made or written.
    """
    with ExitStack() as held:
        fault: CViViTError | None = None
        if rank() == 0:
            try:
                with typed_write_errors(directory):
                    held.enter_context(lock_folder(directory))
            except CViViTError as error:
                fault = error
        fault = from_first_process(fault)
        if fault is not None:
            raise fault
        yield


class StopRequests:
    """Finds out whether any process was asked to stop, also while other processes wait for their data.

    A process that waits for data takes part in no collective, and one that is in a collective runs no signal
    handlers. So a request goes through the store, which every process can read while it waits.

    Args:
        asked: whether this process was asked to stop.
    """

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked
        self._passed_on = False
        self._next_look = 0.0

    def __call__(self) -> bool:
        """Return whether any process was asked to stop, as far as this one can know."""
        if self._asked():
            self._pass_on()
            return True
        if _store is None or not is_distributed():
            return False
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + STORE_POLL_SECONDS
        return bool(_store.check([STOP_KEY]))

    def agree(self, stop: bool, device: torch.device) -> bool:
        """Return whether any process passed true. Requests are passed on while waiting for the others."""
        if not is_distributed():
            return stop
        flag = torch.tensor(float(stop), device=device)
        work = dist.all_reduce(flag, async_op=True)
        assert work is not None
        sleep = _SHORTEST_SLEEP_SECONDS
        # Not work.wait(), which would keep the interpreter from running signal handlers.
        while not work.is_completed():
            if self._asked():
                self._pass_on()
            time.sleep(sleep)
            sleep = min(2 * sleep, _LONGEST_SLEEP_SECONDS)
        work.wait()
        return bool(flag.item())

    def _pass_on(self) -> None:
        if not self._passed_on and _store is not None:
            _store.set(STOP_KEY, "1")
        self._passed_on = True
