"""Download weights from the Hugging Face Hub, with one error for each way in which that can fail.

The endpoint, the token, the cache and the offline mode are set by the environment variables of
huggingface_hub: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME` and `HF_HUB_OFFLINE`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from cvivit.errors import CViViTError, WeightsNotFoundError, WeightsUnavailableError
from cvivit.weights import layout, release

SHORT_COMMIT = 12
"""How many digits of a commit a name shows."""
SHA256_NAME = re.compile(r"[0-9a-f]{64}")
"""The name of a large file in the cache: the sha256 that the Hub lists for it."""
COMMIT = re.compile(r"[0-9a-f]{40}")
LISTING_TIMEOUT_SECONDS = 30.0


class Download(NamedTuple):
    """The files of one commit in the local cache."""

    weights: Path
    config: Path | None
    name: str
    sha256: str | None


def client() -> HfApi:
    """Return the client of the Hub that all calls use."""
    return HfApi(library_name="phenaki-cvivit")


def download(repository: str, revision: str | None = None) -> Download:
    """Download the weights of a repository and the configuration beside them, both of one commit.

    Without a connection, the copy in the cache is used. From the released repository only the released file
    is used, even if others are added to it, because only that file's sha256 is known.

    Raises:
        WeightsNotFoundError: there is no such repository or revision, no permission, or no weights in it.
        WeightsUnavailableError: the Hub cannot be reached, and the weights are not in the cache.
    """
    released = repository == release.REPOSITORY
    revision = revision or (release.REVISION if released else None)
    wanted = layout.RELEASED if released else layout.WANTED
    where = f"{repository}@{revision}" if revision else repository
    with _typed_errors(where):
        try:
            info = client().model_info(repository, revision=revision, timeout=LISTING_TIMEOUT_SECONDS)
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            raise
        except Exception as error:  # the HTTP library of huggingface_hub, and its errors, change by version
            folder, found = _from_cache(repository, revision, where, wanted, error)
        else:
            paths = [file.rfilename for file in info.siblings or ()]
            folder, found = _fetch(repository, revision, layout.find(paths, where, wanted))
    return Download(
        weights=folder / found.weights,
        config=folder / found.config if found.config else None,
        name=f"{repository}@{folder.name[:SHORT_COMMIT]}",
        sha256=release.SHA256 if released else None,
    )


def download_file(repository: str, path: str, revision: str | None = None) -> Download:
    """Download one file of any repository. Without a connection, the copy in the cache is used.

    The `sha256` of the result is the one that the Hub lists for the file, if it lists one.

    Raises:
        WeightsNotFoundError: there is no such repository, revision or file, or no permission.
        WeightsUnavailableError: the Hub cannot be reached, and the file is not in the cache.
    """
    where = f"{repository}@{revision}" if revision else repository
    with _typed_errors(where):
        try:
            # `hf_hub_download` retries for half a minute. This call fails sooner without a connection.
            client().model_info(repository, revision=revision, timeout=LISTING_TIMEOUT_SECONDS)
            local = Path(client().hf_hub_download(repository, path, revision=revision))
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            raise
        except EntryNotFoundError as error:
            raise WeightsNotFoundError(f"{where} holds no {path}") from error
        except Exception as error:  # as in `download`
            try:
                cached = client().hf_hub_download(repository, path, revision=revision, local_files_only=True)
            except LocalEntryNotFoundError:
                raise error from None
            local = Path(cached)
    name = local.resolve().name
    return Download(
        weights=local, config=None, name=path, sha256=name if SHA256_NAME.fullmatch(name) else None
    )


def commit_of(repository: str, revision: str | None = None) -> str:
    """Return the commit that a branch or tag names now. Without a connection, the one in the cache counts.

    Raises:
        WeightsNotFoundError: there is no such repository or revision, or no permission.
        WeightsUnavailableError: the Hub cannot be reached, and the repository is not in the cache.
    """
    revision = revision or (release.REVISION if repository == release.REPOSITORY else None)
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    with _typed_errors(f"{repository}@{revision}" if revision else repository):
        try:
            info = client().model_info(repository, revision=revision, timeout=LISTING_TIMEOUT_SECONDS)
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            raise
        except Exception as error:  # as in `download`
            try:
                cached = client().snapshot_download(repository, revision=revision, local_files_only=True)
            except LocalEntryNotFoundError:
                raise error from None
            return Path(cached).name
        assert info.sha is not None  # the Hub always says it
        return info.sha


def _fetch(repository: str, revision: str | None, found: layout.Layout) -> tuple[Path, layout.Layout]:
    """Download the files and return the folder of their commit.

    The weights come last, so that a commit with weights in the cache has its configuration there too.
    """
    folder: Path | None = None
    for path in (found.config, found.weights):
        if path is not None:
            local = Path(
                client().hf_hub_download(repository, path, revision=folder.name if folder else revision)
            )
            folder = local.parents[path.count("/")]
    assert folder is not None
    return folder, found


def _from_cache(
    repository: str, revision: str | None, where: str, wanted: tuple[str, ...], cause: Exception
) -> tuple[Path, layout.Layout]:
    try:
        folder = Path(client().snapshot_download(repository, revision=revision, local_files_only=True))
        return folder, layout.find(layout.paths_of(folder), where, wanted)
    except (LocalEntryNotFoundError, WeightsNotFoundError):
        raise cause from None


@contextmanager
def _typed_errors(where: str) -> Iterator[None]:
    try:
        yield
    except CViViTError:
        raise
    except GatedRepoError as error:
        raise WeightsNotFoundError(f"{where} is gated: ask its owner for access, and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise WeightsNotFoundError(f"{where}: the repository has no such revision") from error
    except RepositoryNotFoundError as error:
        raise WeightsNotFoundError(
            f"{where}: the Hub has no such repository, or it is private: set HF_TOKEN"
        ) from error
    except HFValidationError as error:
        raise WeightsNotFoundError(f"{where!a} is not the name of a repository") from error
    except LocalEntryNotFoundError as error:
        raise _unavailable(where, error) from error
    except EntryNotFoundError as error:
        raise WeightsNotFoundError(f"{where}: a file of the repository was removed") from error
    except Exception as error:  # as in `download`
        raise _unavailable(where, error) from error


def first_line(error: Exception) -> str:
    """Return the first line of the message of an error of the Hub's client."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line if line.isprintable() else ascii(line)


def _unavailable(where: str, error: Exception) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"{where} cannot be fetched from the Hub, and is not in the local cache: {first_line(error)}"
    )
