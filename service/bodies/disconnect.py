"""Work that ends when nobody waits for it: uvicorn does not cancel a handler whose client has left."""

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
    """Return what `work` returns; cancel it when the client leaves. The request's body has been read.

    `discard` is given a result that comes when it cannot be returned any more.

    Raises:
        ClientGoneError: the client left first.
        Exception: whatever `work` raises.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError("the client left while it waited for the answer")
    except BaseException:
        drop(task, discard)
        if not task.done():
            task.add_done_callback(lambda ended: drop(ended, discard))
            await asyncio.wait([task])
        raise
    finally:
        leaving.cancel()
    return task.result()


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
