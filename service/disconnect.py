"""Work that ends when nobody waits for it: uvicorn does not cancel a handler whose client has left."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from fastapi import Request

from service.errors import ClientGoneError

Result = TypeVar("Result")


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Return what `work` returns; cancel it when the client leaves. The request's body has been read.

    Raises:
        ClientGoneError: the client left first.
        Exception: whatever `work` raises.
    """
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientGoneError("the client left while it waited for the answer")
    finally:
        pending = [future for future in (task, leaving) if not future.done()]
        for future in pending:
            future.cancel()
        if pending:
            await asyncio.wait(pending)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
