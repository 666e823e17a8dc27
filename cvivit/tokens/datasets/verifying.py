"""Compare the files of a token dataset with the checksums in its manifest."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cvivit.errors import ShardError
from cvivit.tokens.datasets.flat_form import TOKENS_NAME, parts_of
from cvivit.tokens.datasets.manifest import Manifest, sha256_of


def verify(folder: Path, manifest: Manifest) -> None:
    """Read all files, and compare their checksums.

    Raises:
        ShardError: a file differs from what was written. The message names it.
    """
    for file in manifest.files:
        if sha256_of(folder / file.name) != file.sha256:
            raise ShardError(f"{folder / file.name}: differs from its checksum")
    if manifest.form == "flat":
        _verify_flat(folder / TOKENS_NAME, manifest)
        return
    for shard in manifest.shards:
        if sha256_of(folder / shard.name) != shard.sha256:
            raise ShardError(f"{folder / shard.name}: differs from its checksum")


def _verify_flat(path: Path, manifest: Manifest) -> None:
    digest, window = hashlib.sha256(), 0
    shards = iter(manifest.shards)
    for chunk in parts_of(path, [shard.bytes for shard in manifest.shards]):
        if chunk:
            digest.update(chunk)
            continue
        shard = next(shards)
        if digest.hexdigest() != shard.sha256:
            raise ShardError(f"{path}: differs from its checksum, from window {window} on")
        digest, window = hashlib.sha256(), window + shard.windows
