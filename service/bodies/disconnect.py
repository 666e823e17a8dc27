"""Cancels the work for a request when its client leaves. uvicorn does not cancel the handler itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fastapi import Request

from service.errors import ClientGoneError
from service.threads import drop

Result = TypeVar("Result")


async def while_connected(
    request: Request,
    work: Coroutine[Any, Any, Result],
    *,
    discard: Callable[[Result], object] = lambda _: None,
) -> Result:
    """Return the result of `work`, or cancel `work` when the client leaves.

    Args:
        request: its body must have been read: from then on the next message can only be the disconnect.
        work: what the client waits for.
        discard: called with a result that comes too late to be returned.

    Raises:
        ClientGoneError: the client left first.
        Exception: whatever `work` raises.
    """
    task = asyncio.ensure_future(work)
    disconnect = asyncio.ensure_future(_wait_for_disconnect(request))
    try:
        await asyncio.wait({task, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError("the client closed the connection while it was waiting for the answer")
    except BaseException:
        drop(task, discard)
        if not task.done():
            # Wait until the task has cleaned up. It may still end with a result, which is then discarded.
            task.add_done_callback(lambda ended: drop(ended, discard))
            await asyncio.wait([task])
        raise
    finally:
        disconnect.cancel()
    return task.result()


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
