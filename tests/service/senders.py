"""A client of HTTP/1.1 that uses little core time, because load tests share the cores with the service."""

import asyncio
from collections import deque
from typing import cast


class Connection(asyncio.Protocol):
    """A connection that stays open. It sends one request at a time and keeps only the answer's status."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[int] | None = None
        self._head = b""
        self._status = 0
        self._left = 0
        """Bytes of the answer's body that have not come."""
        self.open = False
        self.gone = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast(asyncio.Transport, transport)
        self.open = True

    def send(self, request: bytes) -> asyncio.Future[int]:
        """Send a whole request. Returns a future of the status of its answer."""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        """Skip the body of the answer, and give the status once the body has ended."""
        if self._left:
            self._left -= len(data)
        else:
            head, found, body = (self._head + data).partition(b"\r\n\r\n")
            if not found:
                self._head = head
                return
            self._head = b""
            first, *lines = head.split(b"\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)
            }
            self._status = int(first.split()[1])
            self._left = int(headers[b"content-length"]) - len(body)
            if headers.get(b"connection") == b"close":
                self.close()
        assert self._left >= 0
        if not self._left and self._answer is not None:
            answer, self._answer = self._answer, None
            answer.set_result(self._status)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the future of a request that waits for its answer."""
        self.open = False
        self.gone.set()
        if self._answer is not None:
            self._answer.set_exception(exc or ConnectionResetError("closed before the answer ended"))

    def close(self) -> None:
        """Close the connection, so that no other request is sent on it."""
        self.open = False
        self._transport.close()


class Sender:
    """Sends requests to one address, each on a connection that is free or a new one."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._free: deque[Connection] = deque()
        self._all: set[Connection] = set()
        self._host = f"{host}:{port}".encode()

    async def send(self, method: str, path: str, body: bytes = b"") -> int:
        """Return the status of the answer, once it has come whole.

        Raises:
            OSError: no connection, or none that lasted until the answer's end.
        """
        connection = None
        while self._free and connection is None:
            kept = self._free.pop()
            connection = kept if kept.open else None
        if connection is None:
            _, connection = await asyncio.get_running_loop().create_connection(Connection, *self._address)
            self._all.add(connection)
        head = b"%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n" % (
            method.encode(),
            path.encode(),
            self._host,
            len(body),
        )
        status = await connection.send(head + body)
        if connection.open:
            self._free.append(connection)
        return status

    async def close(self) -> None:
        """Close the connections, none of which waits for an answer."""
        for connection in self._all:
            connection.close()
            await connection.gone.wait()
