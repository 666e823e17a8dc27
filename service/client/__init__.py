"""A Python client of the service, for programs that do not run the model themselves.

    from service.client import Client

    with Client("http://127.0.0.1:8000") as client:
        grid = client.encode("clip.mp4")
        frames = client.decode(grid)  # uint8 (frames, height, width, 3)

Its methods have the names of `cvivit.VideoTokenizer`, so local and remote code differ by one line. It imports
neither torch nor FastAPI nor PyAV. Install it with the extra `client`.
"""

from service.client.answers import Reconstruction, ServerInfo, StreamSummary
from service.client.async_client import AsyncClient, AsyncEncodeStream
from service.client.client import Client, EncodeStream
from service.client.client_errors import (
    AnswerTimeoutError,
    ClientError,
    ConnectionFailedError,
    IncompleteAnswerError,
    ProblemError,
    RetryLaterError,
    UnexpectedAnswerError,
)

__all__ = [
    "AnswerTimeoutError",
    "AsyncClient",
    "AsyncEncodeStream",
    "Client",
    "ClientError",
    "ConnectionFailedError",
    "EncodeStream",
    "IncompleteAnswerError",
    "ProblemError",
    "Reconstruction",
    "RetryLaterError",
    "ServerInfo",
    "StreamSummary",
    "UnexpectedAnswerError",
]
