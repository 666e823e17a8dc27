"""Reach files behind URLs by fsspec: filesystems, listings, and tries that are repeated."""

from __future__ import annotations

import errno
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from cvivit.errors import InputError, InputUnavailableError, MissingPackageError
from cvivit.inputs.locations import is_web, scheme_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

WAITS_SECONDS = (0.5, 2.0, 8.0)
"""Waits before each new try of a server that failed."""
CONNECT_SECONDS = 30.0
SILENCE_SECONDS = 60.0
"""How long a server of HTTP may send nothing. There is no limit to the whole, which may be a long film."""
NOTICE_SECONDS = 5.0
"""After how long a question that is not answered is mentioned in the log."""

PACKAGES = {
    "abfs": "adlfs",
    "abfss": "adlfs",
    "az": "adlfs",
    "gcs": "gcsfs",
    "gs": "gcsfs",
    "hf": "huggingface_hub",
    "http": "aiohttp",
    "https": "aiohttp",
    "oci": "ocifs",
    "oss": "ossfs",
    "s3": "s3fs",
    "s3a": "s3fs",
    "sftp": "paramiko",
    "ssh": "paramiko",
    "webdav": "webdav4",
}
"""Package that reads URLs of a scheme, where one beside fsspec is needed."""

_TAGS = ("ETag", "etag", "xet_hash", "blob_id", "md5Hash", "Content-MD5", "LastModified", "Last-Modified",
         "last_modified", "mtime", "updated", "modified", "created")  # fmt: skip
"""What filesystems call the state of a file, the surest first."""
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotImplementedError, ImportError, ValueError)
_GONE = (404, 410)
_MEANINGS = {
    401: " (credentials are missing or wrong, or there is no such file)",
    403: " (access is refused)",
}
_MAX_REASON = 200

log = logging.getLogger("cvivit")
_mentioned: set[str] = set()
"""Servers that are known to be slow."""

_QUIET = logging.NullHandler()
"""Keeps a logger from printing to stderr where the program has set up no logging."""

T = TypeVar("T")


def open_filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """Return the filesystem that reads a URL, and the path of the file in it.

    Raises:
        MissingPackageError: the package for its scheme is not installed.
        InputError: nothing reads its scheme, or it is a chain of several URLs.
    """
    import fsspec

    scheme = scheme_of(url)
    if scheme in ("gs", "gcs"):  # it logs the tracebacks of errors that are then raised
        logging.getLogger("gcsfs").addHandler(_QUIET)
    if "::" in url:
        raise InputError(f"{url}: a chain of URLs is not read")
    options: dict[str, Any] = {}
    try:
        if is_web(url):
            import aiohttp

            timeout = aiohttp.ClientTimeout(
                total=None, sock_connect=CONNECT_SECONDS, sock_read=SILENCE_SECONDS
            )
            options["client_kwargs"] = {"timeout": timeout}
        filesystem, path = fsspec.url_to_fs(url, **options)
    except ImportError:
        package = PACKAGES.get(scheme, scheme)
        raise MissingPackageError(
            f"{url}: {scheme}:// needs the package {package}: pip install {package}"
        ) from None
    except ValueError as error:
        if "rotocol not known" in str(error):
            raise InputError(f"{url}: {scheme}:// is not read") from None
        raise InputUnavailableError(f"{url}: {reason_of(error)}") from error
    except Exception as error:  # each filesystem has its own: a project or credentials that it looks for
        raise InputUnavailableError(f"{url}: {reason_of(error)}") from error
    return filesystem, path


def with_tries(url: str, attempt: Callable[[], T], waits: tuple[float, ...] | None = None) -> T:
    """Return what `attempt` returns. If it fails for a reason that may pass, try again after a wait.

    Raises:
        FileNotFoundError: there is no such file.
        InputUnavailableError: the server refuses it, or fails at each try.
    """
    remaining = list(WAITS_SECONDS if waits is None else waits)
    while True:
        try:
            return attempt()
        except Exception as error:  # each filesystem has its own
            cause = _told_by(error)
            if isinstance(cause, FileNotFoundError) or _status_of(cause) in _GONE:
                raise FileNotFoundError(errno.ENOENT, "no such file", url) from error
            if not remaining or _is_final(cause):
                raise InputUnavailableError(f"{url}: {reason_of(cause)}") from cause
        time.sleep(remaining.pop(0))


def describe(url: str, *, waits: tuple[float, ...] | None = None) -> dict[str, Any]:
    """Return what a filesystem says of a file or folder: `type`, `size` and more.

    Raises:
        FileNotFoundError: there is no such file.
        InputUnavailableError: the server refuses it, or fails at each try.
    """
    filesystem, path = open_filesystem(url)
    with _mentioning_silence(url):
        return with_tries(url, lambda: dict(filesystem.info(path)), waits)


def state_of(info: dict[str, Any]) -> tuple[int, str]:
    """Return the size of a file (0 if it is not stated) and what stands for its state, such as an ETag."""
    tag = next((info[name] for name in _TAGS if info.get(name)), "")
    return int(info.get("size") or 0), str(tag)


def walk(url: str, *, depth: int | None = None) -> Iterator[tuple[str, dict[str, dict[str, Any]]]]:
    """Yield each folder below a URL as a URL, with its files: name to what the filesystem says of each.

    Hidden files and folders are left out. Memory holds the listing of one folder.

    Raises:
        InputUnavailableError: a folder cannot be listed.
    """
    filesystem, top = open_filesystem(url)
    filesystem.invalidate_cache()  # what an earlier listing of this process kept may be old
    start, top = url.rstrip("/"), top.rstrip("/")
    waiting = [(top, 1)]
    seen = {top}
    while waiting:
        folder, level = waiting.pop()
        files, folders = {}, []
        for info in _list(filesystem, folder, url):
            path = info["name"].rstrip("/")
            name = path.rpartition("/")[2]
            if not name or name.startswith((".", "?", "#")) or path == folder:
                continue
            if info["type"] != "directory":
                files[name] = info
            elif (depth is None or level < depth) and path not in seen:
                seen.add(path)
                folders.append((path, level + 1))
        inside = folder[len(top) :] if folder.startswith(top) else None
        yield (start + inside if inside is not None else filesystem.unstrip_protocol(folder)), files
        waiting += sorted(folders, reverse=True)
        with suppress(Exception):  # that of the Hub asks the server for the folder, which may be gone
            filesystem.invalidate_cache(folder)


def _list(filesystem: AbstractFileSystem, folder: str, url: str) -> list[dict[str, Any]]:
    target = f"{folder}/" if is_web(url) else folder
    try:
        with _mentioning_silence(url):
            return with_tries(url, lambda: filesystem.ls(target, detail=True))
    except FileNotFoundError:  # A folder of an object store vanishes with its last file.
        return []


@contextmanager
def _mentioning_silence(url: str) -> Iterator[None]:
    """Log that a server does not answer, once for each server, while the body waits for it."""
    timer = threading.Timer(NOTICE_SECONDS, _mention, (url,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _mention(url: str) -> None:
    server = "/".join(url.split("/")[:3])
    if server not in _mentioned:
        _mentioned.add(server)
        log.warning("still waiting for an answer of %s", url)


def reason_of(error: BaseException) -> str:
    """Return in a few words why a server did not give a file."""
    if (status := _status_of(error)) is not None:
        return f"HTTP status {status}{_MEANINGS.get(status, '')}"
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, PermissionError):
        return "access is refused"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    lines = str(error).splitlines()
    return lines[0][:_MAX_REASON] if lines else type(error).__name__


def is_refusal(error: BaseException | None) -> bool:
    """Return whether a server answered that it does not give a file. 408 and 429 ask for another try."""
    status = _status_of(error)
    if status is not None:
        return 400 <= status < 500 and status not in (408, 429)
    return isinstance(error, PermissionError)


def _status_of(error: BaseException | None) -> int | None:
    """Return the HTTP status in an error of aiohttp, gcsfs, httpx or urllib."""
    for holder, name in (
        (error, "status"),
        (getattr(error, "response", None), "status_code"),
        (error, "code"),
    ):
        number = getattr(holder, name, None)
        if isinstance(number, int) and 100 <= number < 600:
            return number
    # gcsfs has no class and no number for this status, and tells it in words.
    return 403 if isinstance(error, OSError) and str(error).startswith("Forbidden: ") else None


def _told_by(error: BaseException) -> BaseException:
    """Return the error behind a FileNotFoundError, which is what fsspec makes of every failure of HTTP."""
    while isinstance(error, FileNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return error


def _is_final(error: BaseException) -> bool:
    """Return whether another try would fail as well."""
    full = isinstance(error, OSError) and error.errno in DISK_FULL
    return (
        full or is_refusal(error) or isinstance(error, _FINAL) or type(error).__name__ == "NoCredentialsError"
    )
