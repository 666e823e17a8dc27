"""The client for ordinary code; `async_client` has the one for coroutines."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import BinaryIO, Self

import httpx
import numpy as np
from httpx_retries import RetryTransport

from cvivit.files import replacing
from cvivit.tokens import TokenGrid
from service.client.answers import (
    LineReader,
    Reconstruction,
    ServerInfo,
    StreamSummary,
    check_type,
    error_of,
    read_grid,
    read_info,
    read_pixels,
    read_reconstruction,
    receiving,
    sending,
)
from service.client.calls import (
    INFO,
    Call,
    Fit,
    Form,
    authorization,
    check_client_settings,
    decode_call,
    encode_call,
    form_of,
    reconstruct_call,
)
from service.client.retrying import retry_policy
from service.client.upload import Progress, Video


class Client:
    """Calls a server. Threads may share it.

    A request that gets no connection, no answer, or 429, 502, 503 or 504 is sent again; see
    `service.client.retrying`. An answer that has begun is not asked for again.

    Args:
        url: the URL of the server, with a path prefix if it has one.
        api_key: for a server that asks for keys. Blanks and line breaks around it are left out.
        timeout: seconds that the server may be silent. For `encode` and `reconstruct` it is silent until the
            work is done, so choose the timeout for your longest video.
        retries: how often a request is sent again. The default outlives a server's restart of 30 seconds.

    Making a client raises ValueError for an argument that is out of range, or is no URL or key.
    Every call may raise:

    Raises:
        ProblemError: the server answered with an error. It is also of the library's class of that error.
        ConnectionFailedError, AnswerTimeoutError, IncompleteAnswerError: there was no whole answer.
        UnexpectedAnswerError: the answer is not one of this service.
        RetryLaterError: the server asks to wait for longer than the client waits.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout: float = 60.0, retries: int = 5
    ) -> None:
        check_client_settings(url, timeout=timeout, retries=retries)
        self._timeout = timeout
        self._retries = retries
        self._http = httpx.Client(
            base_url=url,
            headers=authorization(api_key),
            timeout=timeout,
            transport=RetryTransport(httpx.HTTPTransport()),
        )

    def info(self) -> ServerInfo:
        """Return the model that the server serves, and its limits."""
        with self._answer(INFO) as response:
            return read_info(bytes(self._body(response)))

    def encode(
        self,
        video: Video,
        *,
        fit: Fit = "crop",
        start: float = 0.0,
        seconds: float | None = None,
        progress: Progress | None = None,
    ) -> TokenGrid:
        """Return the tokens of a video, as `VideoTokenizer.encode` does.

        Args:
            video: a path, the file's bytes, a binary file object (which is sent from its position on), or
                chunks of bytes. An iterator is not sent again once it has begun.
            fit: how frames become square: "crop" to the middle, "pad" with black, or "stretch".
            start: seconds of the video to skip.
            seconds: how much to read from there. None reads to the end.
            progress: is called with the bytes sent so far, and their total or None.

        Raises:
            OSError: the path cannot be opened.
            ClientError: see the class.
        """
        call = encode_call(video, stream=False, fit=fit, start=start, seconds=seconds, progress=progress)
        with self._answer(call) as response:
            return read_grid(response, bytes(self._body(response)))

    def encode_stream(
        self,
        video: Video,
        *,
        fit: Fit = "crop",
        start: float = 0.0,
        seconds: float | None = None,
        progress: Progress | None = None,
    ) -> EncodeStream:
        """Iterate over the tokens (T, H, W) of a video's clips, each as soon as it is ready.

        The request is sent when the iteration begins. Arguments and errors are those of `encode`; iterating
        also raises IncompleteAnswerError where the stream breaks off.
        """
        call = encode_call(video, stream=True, fit=fit, start=start, seconds=seconds, progress=progress)
        return EncodeStream(self, call)

    def decode(self, grid: TokenGrid) -> np.ndarray:
        """Return the frames of tokens, uint8 (frames, height, width, 3), as `VideoTokenizer.decode` does."""
        with self._answer(decode_call(grid, form="npy")) as response:
            return read_pixels(response, self._body(response))

    def decode_to(
        self, grid: TokenGrid, destination: str | os.PathLike[str] | BinaryIO, *, form: Form | None = None
    ) -> None:
        """Decode tokens to a file.

        Args:
            grid: the tokens.
            destination: a path, which appears when the file is complete, or a binary file object.
            form: "mp4", "webm", "gif", "zip" (an MP4 for each clip) or "npy" (pixels). By default the suffix
                of the path, or "mp4" for a file object.

        Raises:
            ValueError: the form is not known.
            OSError: the destination cannot be written.
            ClientError: see the class. A path then holds what it held before.
        """
        call = decode_call(grid, form=form_of(destination, form))
        with self._answer(call) as response:
            check_type(response, call.accept)
            if isinstance(destination, str | os.PathLike):
                with replacing(destination) as file:
                    self._copy(response, file)
            else:
                self._copy(response, destination)

    def reconstruct(
        self,
        video: Video,
        *,
        fit: Fit = "crop",
        start: float = 0.0,
        seconds: float | None = None,
        progress: Progress | None = None,
    ) -> Reconstruction:
        """Return a video beside its reconstruction, with PSNR and SSIM. Arguments are those of `encode`."""
        call = reconstruct_call(video, fit=fit, start=start, seconds=seconds, progress=progress)
        with self._answer(call) as response:
            return read_reconstruction(response, bytes(self._body(response)))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _answer(self, call: Call) -> Iterator[httpx.Response]:
        """Send a request, and yield its answer once the headers have come. Raise an error of the server."""
        request = self._http.build_request(
            call.method,
            call.path,
            params=call.parameters,
            headers=call.headers,
            content=call.upload,
            extensions={"retry": retry_policy(self._retries, call.upload)},
        )
        with sending(self._timeout):
            response = self._http.send(request, stream=True)
        try:
            if response.status_code != httpx.codes.OK:
                with receiving(self._timeout):
                    response.read()
                raise error_of(response)
            yield response
        finally:
            response.close()

    def _body(self, response: httpx.Response) -> bytearray:
        body = bytearray()
        with receiving(self._timeout):
            for chunk in response.iter_bytes():
                body += chunk
        return body

    def _copy(self, response: httpx.Response, file: BinaryIO) -> None:
        with receiving(self._timeout):
            file.writelines(response.iter_bytes())


class EncodeStream(Iterator[np.ndarray]):
    """Iterates over the tokens (T, H, W) of a video's clips. Close it, or use it as a context manager."""

    def __init__(self, client: Client, call: Call) -> None:
        self._clips = self._read(client, call)
        self.summary: StreamSummary | None = None
        """The fields of the TokenGrid besides its tokens, once the iteration has ended."""

    def _read(self, client: Client, call: Call) -> Generator[np.ndarray, None, None]:
        with client._answer(call) as response:
            lines = LineReader(response)
            chunks = response.iter_bytes()
            while True:
                with receiving(client._timeout):
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                yield from lines.feed(chunk)
            lines.finish()
            self.summary = lines.summary

    def __next__(self) -> np.ndarray:
        return next(self._clips)

    def close(self) -> None:
        """End the request: the server stops working on it."""
        self._clips.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
