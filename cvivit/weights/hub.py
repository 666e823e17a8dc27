"""The Hugging Face Hub: which files of a repository to fetch, and one error for each way that fails.

Endpoint, token, cache and offline mode are those of huggingface_hub: `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`,
`HF_HUB_OFFLINE`.
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
SHA256_NAME = re.compile(r"[0-9a-f]{64}")
"""The cache names a large file by the sha256 that the Hub lists for it."""
LISTING_TIMEOUT_SECONDS = 30.0


class Download(NamedTuple):
    """Files of one commit in the Hub's cache."""

    weights: Path
    config: Path | None
    name: str
    sha256: str | None


def client() -> HfApi:
    """Return the client of the Hub that every call goes through."""
    return HfApi(library_name="phenaki-cvivit")


def download(repository: str, revision: str | None = None) -> Download:
    """Fetch the weights of a repository, and the configuration beside them, all of one commit.

    Without a connection the copy in the cache is taken. Of the released repository only the released file is
    ever taken, whatever else it may come to hold, because its sha256 is the one that is known.

    Raises:
        WeightsNotFoundError: no such repository or revision, no permission, or no weights in it.
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
        except (
            Exception
        ) as error:  # huggingface_hub's HTTP library, and so its errors, change with its version
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
    """Fetch one file of a repository, whatever it holds. Without a connection, take the copy in the cache.

    The `sha256` of the result is the one that the Hub lists for the file, if it lists one.

    Raises:
        WeightsNotFoundError: no such repository, revision or file, or no permission.
        WeightsUnavailableError: the Hub cannot be reached, and the file is not in the cache.
    """
    where = f"{repository}@{revision}" if revision else repository
    with _typed_errors(where):
        try:
            # The download has a timeout of its own, and tries again for half a minute. This asks first.
            client().model_info(repository, revision=revision, timeout=LISTING_TIMEOUT_SECONDS)
            local = Path(client().hf_hub_download(repository, path, revision=revision))
        except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
            raise
        except EntryNotFoundError as error:
            raise WeightsNotFoundError(f"{where} holds no {path}") from error
        except Exception as error:  # see `download`
            try:
                cached = client().hf_hub_download(repository, path, revision=revision, local_files_only=True)
            except LocalEntryNotFoundError:
                raise error from None
            local = Path(cached)
    name = local.resolve().name
    return Download(
        weights=local, config=None, name=path, sha256=name if SHA256_NAME.fullmatch(name) else None
    )


def _fetch(repository: str, revision: str | None, found: layout.Layout) -> tuple[Path, layout.Layout]:
    """Return the folder of a commit that holds the files. Weights come last: if they are there, all is."""
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
        raise WeightsNotFoundError(f"{where} is gated: ask for access, and set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise WeightsNotFoundError(f"{where}: the repository has no such revision") from error
    except RepositoryNotFoundError as error:
        raise WeightsNotFoundError(f"{where}: no such repository, or a private one: set HF_TOKEN") from error
    except HFValidationError as error:
        raise WeightsNotFoundError(f"{where!a} is not the name of a repository") from error
    except LocalEntryNotFoundError as error:
        raise _unavailable(where, error) from error
    except EntryNotFoundError as error:
        raise WeightsNotFoundError(f"{where}: a file of the repository is gone") from error
    except Exception as error:  # see above
        raise _unavailable(where, error) from error


def first_line(error: Exception) -> str:
    """Return what an error of the Hub's client says, on one line."""
    line = next(iter(str(error).splitlines()), "") or type(error).__name__
    return line if line.isprintable() else ascii(line)


def _unavailable(where: str, error: Exception) -> WeightsUnavailableError:
    return WeightsUnavailableError(
        f"{where} cannot be fetched from the Hub, and is not in its cache: {first_line(error)}"
    )
