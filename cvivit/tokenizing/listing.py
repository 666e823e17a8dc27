"""List the inputs of a dataset without its own files, and note what they look like now."""

from __future__ import annotations

import hashlib
import json
import os
from array import array
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from cvivit.errors import NoDataError
from cvivit.inputs import Source, find_sources
from cvivit.inputs.opening import MISSING, stamps_of


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The sources of a dataset."""

    sources: Sequence[Source]
    """Sorted by location."""
    sizes: Sequence[int]
    """The bytes of each, as `cvivit.inputs.Stamp` has them."""
    digest: str
    """Of their names, sizes and times."""
    absent: Sequence[int] = ()
    """Places of those that are not there, or cannot be reached."""

    def is_that_of(self, digest: str, absent: Sequence[int]) -> bool:
        """Return whether these are the sources of an earlier listing, some of which were not there then.

        Args:
            digest: that of the earlier listing.
            absent: places of the sources that were not there. Whatever they are now is right.
        """
        if self.digest == digest or not absent:
            return self.digest == digest
        return inspect(self.sources, frozenset(absent))[1] == digest


def list_inputs(inputs: Sequence[str], output: Path) -> Listing:
    """Return the sources that `inputs` name. It imports no torch, so that wrong names are found at once.

    Args:
        inputs: what `cvivit.inputs.find_sources` takes.
        output: the folder of the dataset, whose own files are no sources.

    Raises:
        InputError: an input cannot be understood or reached.
        NoDataError: an input matches nothing, or there is no video outside of `output`.
    """
    sources = usable_sources(find_sources(inputs), output)
    if not sources:
        raise NoDataError(f"what was named holds no video outside of {output}")
    sizes, digest = inspect(sources)
    absent = array("q", (place for place, size in enumerate(sizes) if size == MISSING.size))
    return Listing(sources=sources, sizes=sizes, digest=digest, absent=absent)


def usable_sources(found: Sequence[Source], output: Path) -> list[Source]:
    """Return the videos and stills among what was found, without the dataset's own files."""
    own = f"{os.path.abspath(output)}{os.sep}"
    return [source for source in found if source.kind != "unknown" and not source.location.startswith(own)]


def inspect(sources: Sequence[Source], absent: Container[int] = ()) -> tuple[Sequence[int], str]:
    """Return the sizes of sources in bytes, and a digest of their names, sizes and times.

    Args:
        sources: what is looked at.
        absent: places of those that are taken as not there, whatever they are.
    """
    sizes = array("q")
    digest = hashlib.blake2b(digest_size=16)
    for place, (source, stamp) in enumerate(stamps_of(sources)):
        sizes.append(stamp.size)
        if stamp.size == MISSING.size or place in absent:
            stamp = MISSING  # what lies beside it cannot be reached either
        fields = [source.location, source.name, stamp.size, stamp.changed, stamp.beside]
        digest.update(json.dumps(fields).encode())
    return sizes, digest.hexdigest()
