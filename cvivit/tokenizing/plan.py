"""Decide which sources make which shard, and what their samples are called, from the sorted list alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cvivit.inputs import Source
from cvivit.tokenizing.parts import DUPLICATE
from cvivit.tokenizing.settings import ModelFacts, TokenizeSettings
from cvivit.tokens.datasets.manifest import Form, Skipped

SHARD_PREFIX: Final = "tokens-"
SHARD_SUFFIXES: Final[dict[Form, str]] = {"webdataset": ".tar", "parquet": ".parquet", "flat": ".flat"}
_DIGEST_BYTES: Final = 8
_UNFIT: Final = re.compile(r"[.\x00-\x1f\x7f\ud800-\udfff\\]")
"""What the last part of a key cannot hold: webdataset's suffix begins at its first dot. A backslash, a
control character or a byte that is no text would be read as something else by some program."""
_UNFIT_FOLDER: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\\]")


@dataclass(frozen=True, kw_only=True)
class ShardTask:
    """All that is needed to make one shard, in any process on any machine that reaches the folder."""

    number: int
    folder: Path
    """The dataset."""
    sources: tuple[Source, ...]
    keys: tuple[str, ...]
    duplicates: Mapping[int, str] = field(default_factory=dict)
    """Places in `sources` of those with the contents of an earlier source, and that one's location."""
    settings: TokenizeSettings
    model: ModelFacts
    replaces: bool = False
    """Whether a finished dataset is there, whose shards stay until all new ones are whole."""

    @property
    def name(self) -> str:
        """The name of the shard's file."""
        return f"{SHARD_PREFIX}{self.number:06d}{SHARD_SUFFIXES[self.settings.form]}"


class Plan:
    """The shards of a dataset.

    Args:
        folder: the dataset.
        sources: all sources, sorted by location.
        settings: how they are cut.
        model: what makes the tokens.
        duplicates: from the place of a source to that of an earlier one with the same contents.
        replaces: whether a finished dataset is in the folder, some of whose shards are made again.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sequence[Source],
        settings: TokenizeSettings,
        model: ModelFacts,
        *,
        duplicates: Mapping[int, int] | None = None,
        replaces: bool = False,
    ) -> None:
        self.folder = folder
        self.sources = sources
        self.settings = settings
        self.model = model
        self.replaces = replaces
        self._duplicates = duplicates or {}
        self._shared = shared_stems(source.name for source in sources)

    def __len__(self) -> int:
        """Return the number of shards."""
        return -(-len(self.sources) // self.settings.sources_per_shard)

    def to_encode(self, number: int, settled: Container[int] = ()) -> list[Source]:
        """Return the sources of a shard to encode, if the outcomes at its places `settled` are known."""
        first = number * self.settings.sources_per_shard
        end = min(first + self.settings.sources_per_shard, len(self.sources))
        return [
            self.sources[place]
            for place in range(first, end)
            if place not in self._duplicates and place - first not in settled
        ]

    def task(self, number: int) -> ShardTask:
        """Return what is needed to make shard `number`."""
        first = number * self.settings.sources_per_shard
        sources = tuple(self.sources[first : first + self.settings.sources_per_shard])
        return ShardTask(
            number=number,
            folder=self.folder,
            sources=sources,
            keys=tuple(self.key_of(source) for source in sources),
            duplicates={
                place: self.sources[self._duplicates[first + place]].location
                for place in range(len(sources))
                if first + place in self._duplicates
            },
            settings=self.settings,
            model=self.model,
            replaces=self.replaces,
        )

    def key_of(self, source: Source) -> str:
        """Return the key of a source's samples, which no other source has."""
        stem = stem_of(source.name)
        if _digest(stem) not in self._shared:
            return stem
        return f"{stem}-{hashlib.blake2b(_encoded(source.location), digest_size=4).hexdigest()}"


def stem_of(name: str) -> str:
    """Return a name without its suffix, fit to be the key of a sample."""
    *folders, last = [part for part in name.split("/") if part not in ("", ".", "..")] or ["source"]
    stem, dot, _ = last.rpartition(".")
    stem = _UNFIT.sub("_", stem if dot and stem else last)
    return "/".join([*(_UNFIT_FOLDER.sub("_", folder) for folder in folders), stem])


def shared_stems(names: Iterable[str]) -> frozenset[bytes]:
    """Return digests of the stems that several names have. Digests take less memory than a million names."""
    seen: set[bytes] = set()
    shared: set[bytes] = set()
    for name in names:
        digest = _digest(stem_of(name))
        (shared if digest in seen else seen).add(digest)
    return frozenset(shared)


def duplicate_entry(source: str, original: str) -> Skipped:
    """Return what the manifest says of a source with the contents of another."""
    return Skipped(source=source, reason=DUPLICATE, message=f"the same file as {original}")


def _digest(stem: str) -> bytes:
    return hashlib.blake2b(_encoded(stem), digest_size=_DIGEST_BYTES).digest()


def _encoded(text: str) -> bytes:
    return text.encode(errors="surrogateescape") if text.isascii() else text.encode(errors="surrogatepass")
