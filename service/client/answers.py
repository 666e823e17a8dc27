"""What the client returns, read from the service's answers."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from tokenize import TokenError
from typing import Any

import httpx
import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from cvivit.errors import TokensError
from cvivit.tokens import TokenGrid
from service.bodies.media_types import LINES, MP4, PIXELS, TOKENS, essence
from service.client.client_errors import (
    AnswerTimeoutError,
    ClientError,
    ConnectionFailedError,
    IncompleteAnswerError,
    UnexpectedAnswerError,
    problem_error,
)

PROBLEM = "application/problem+json"


class ServerInfo(BaseModel):
    """The model that a server serves, and its limits. A newer server may tell more fields than these."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    version: str
    model: str
    """Fingerprint of the weights."""
    tokens_of: tuple[str, ...] = ()
    """Fingerprints of other weights whose tokens the server decodes too. Older servers do not tell them."""
    device: str
    precision: str
    image_size: tuple[int, int]
    """Height and width of a clip in pixels."""
    clip_frames: int
    fps: float
    grid: tuple[int, int, int]
    """Tokens of a clip: latent frames, rows, columns."""
    codebook_size: int
    limits: dict[str, float]
    """Limits by the names of their settings."""


@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """A video beside its reconstruction, and how close they are."""

    video: bytes
    """MP4: the original on the left, its reconstruction on the right."""
    psnr: float
    """Peak signal-to-noise ratio in dB; infinite where no pixel differs."""
    ssim: float
    """Structural similarity, at most 1: the mean over the frames."""


@dataclass(frozen=True, kw_only=True)
class StreamSummary:
    """The last line of a stream of tokens: the fields of a TokenGrid besides the tokens."""

    model: str
    frames: int
    fps: float


@contextmanager
def sending(timeout: float) -> Iterator[None]:
    """Turn the errors of a request that got no answer into errors of the client."""
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise ConnectionFailedError(f"no connection to the server within {timeout:g} seconds") from error
    except httpx.TimeoutException as error:
        raise AnswerTimeoutError(f"the server sent nothing for {timeout:g} seconds", limit=timeout) from error
    except httpx.TransportError as error:
        raise ConnectionFailedError(f"the connection to the server failed: {error}") from error
    except httpx.InvalidURL as error:
        raise ClientError(f"the URL of the server is not one: {error}") from error


@contextmanager
def receiving(timeout: float) -> Iterator[None]:
    """Turn the errors of an answer that began into errors of the client."""
    try:
        yield
    except httpx.TimeoutException as error:
        raise AnswerTimeoutError(
            f"the server sent nothing more for {timeout:g} seconds", limit=timeout
        ) from error
    except (httpx.TransportError, httpx.DecodingError) as error:
        raise IncompleteAnswerError(f"the answer broke off: {error}") from error


def error_of(response: httpx.Response) -> ClientError:
    """Return the error of an answer that is no success. Its body has been read."""
    try:
        problem = json.loads(response.content)
    except (ValueError, RecursionError):
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("code"), str):
        return problem_error(problem, response.status_code, asked_to_wait(response))
    return UnexpectedAnswerError(
        f"the server answered {response.status_code} with {_named_type(response)}, not as this service does; "
        "check its URL and what stands in front of it"
    )


def asked_to_wait(response: httpx.Response) -> float | None:
    """Return the seconds after which the server asks to try again, or None if it names no time."""
    said = response.headers.get("retry-after", "").strip()
    try:
        if said.isdecimal():
            return float(said)
        until = parsedate_to_datetime(said)
        if until.tzinfo is None:  # "-0000" says that the zone is not known; dates of HTTP are in UTC
            until = until.replace(tzinfo=UTC)
        return max(0.0, (until - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def check_type(response: httpx.Response, expected: str) -> None:
    """Check that a successful answer is of the type that was asked for.

    Raises:
        UnexpectedAnswerError: it is of another type.
    """
    if essence(response.headers.get("content-type", "")) != expected:
        raise UnexpectedAnswerError(
            f"the server answered with {_named_type(response)} instead of {expected}; check its URL"
        )


def _named_type(response: httpx.Response) -> str:
    return essence(response.headers.get("content-type", "")) or "no content type"


def read_grid(response: httpx.Response, body: bytes) -> TokenGrid:
    """Return the tokens in the body of an answer to `/encode`."""
    check_type(response, TOKENS)
    try:
        return TokenGrid.from_bytes(body)
    except TokensError as error:
        raise UnexpectedAnswerError(f"the server's tokens cannot be read: {error}") from error


def read_pixels(response: httpx.Response, body: bytearray) -> np.ndarray:
    """Return the pixels in the body of an answer to `/decode`, uint8 (frames, height, width, 3)."""
    check_type(response, PIXELS)
    file = io.BytesIO(body[:256])
    try:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("another version")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        if fortran or dtype != np.uint8 or len(shape) != 4 or shape[-1] != 3 or min(shape) < 1:
            raise ValueError("another kind of array")
        # A view of the body, which may be written to as any other array.
        return np.frombuffer(body, np.uint8, offset=file.tell()).reshape(shape)
    except (ValueError, TokenError) as error:  # numpy reads the header as an expression of Python
        raise UnexpectedAnswerError("the server's pixels cannot be read") from error


def read_reconstruction(response: httpx.Response, body: bytes) -> Reconstruction:
    """Return the contents of an answer to `/reconstruct`."""
    check_type(response, MP4)
    try:
        psnr, ssim = float(response.headers["x-psnr"]), float(response.headers["x-ssim"])
    except (KeyError, ValueError) as error:
        raise UnexpectedAnswerError("the answer does not say its PSNR and SSIM") from error
    return Reconstruction(video=body, psnr=psnr, ssim=ssim)


def read_info(body: bytes) -> ServerInfo:
    """Return the contents of an answer to `/info`."""
    try:
        return ServerInfo.model_validate_json(body)
    except ValidationError as error:
        raise UnexpectedAnswerError("the answer to /info is not that of this service") from error


class LineReader:
    """Reads a stream of tokens from its bytes, and knows whether the stream is complete."""

    def __init__(self, response: httpx.Response) -> None:
        check_type(response, LINES)
        self._unread = b""
        self._clips = 0
        self._shape: tuple[int, ...] | None = None
        self.summary: StreamSummary | None = None
        """What the last line says, once it has come."""

    def feed(self, chunk: bytes) -> Iterator[np.ndarray]:
        """Yield the tokens (T, H, W) of each clip whose line `chunk` completes.

        Raises:
            ProblemError: the stream says that the request failed.
            UnexpectedAnswerError: a line is none of such a stream.
        """
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        try:
            for line in lines:
                if (indices := self._read(json.loads(line))) is not None:
                    yield indices
        except (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError) as error:
            raise UnexpectedAnswerError("the server sent a line that is not one of a token stream") from error

    def _read(self, line: Any) -> np.ndarray | None:
        """Return the tokens in a line, or None for the last line."""
        if self.summary is not None:
            raise ValueError("a line after the last one")
        if "code" in line:
            raise problem_error(line, int(line["status"]))
        if "indices" in line:
            indices = np.array(line["indices"])
            if line["clip"] != self._clips or indices.ndim != 3 or indices.dtype.kind != "i":
                raise ValueError("no tokens of the next clip")
            if indices.shape != (self._shape or indices.shape):
                raise ValueError("another grid than that of the clip before")
            if indices.min() < 0 or indices.max() >= 2**32:
                raise ValueError("numbers that are no tokens")
            self._clips += 1
            self._shape = indices.shape
            return indices.astype(np.uint16 if indices.max() < 2**16 else np.uint32)
        if line["shape"][0] != self._clips:
            raise ValueError("clips are missing")
        self.summary = StreamSummary(
            model=str(line["model"]), frames=int(line["frames"]), fps=float(line["fps"])
        )
        return None

    def finish(self) -> None:
        """Check that the stream is complete.

        Raises:
            IncompleteAnswerError: its last line has not come.
        """
        if self.summary is None:
            raise IncompleteAnswerError("the stream of tokens ended before its last line")
