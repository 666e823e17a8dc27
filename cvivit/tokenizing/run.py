"""Tokenize everything that was named to a dataset: the shards that are missing, and then the manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cvivit.bulk import encode_sources
from cvivit.errors import OutputMismatchError
from cvivit.files import SIBLING_PREFIX, replacing
from cvivit.folders import lock_folder, typed_write_errors
from cvivit.tokenizing.ceiling import DEFAULT_MAX_FAILED, FailureCeiling, most_failed
from cvivit.tokenizing.duplicates import find_duplicates
from cvivit.tokenizing.finishing import JOINING_NAME, finish, is_joining
from cvivit.tokenizing.listing import Listing, list_inputs
from cvivit.tokenizing.making import MakeInOrder, MakeShards, ShowProgress, read_options
from cvivit.tokenizing.plan import Plan
from cvivit.tokenizing.retrying import AGAIN_NAME, has_failed, reopen, round_of_tries
from cvivit.tokenizing.settings import ModelFacts, TokenizeSettings
from cvivit.tokenizing.shards import ShardRecord, read_record
from cvivit.tokens.datasets.manifest import MANIFEST_NAME, WORK_NAME, Manifest

if TYPE_CHECKING:
    from cvivit.config import CViViTConfig
    from cvivit.tokenizer import VideoTokenizer

RUN_NAME: Final = "run.json"
"""What an unfinished dataset is made of, so that it is only continued with the same."""
ABSENT: Final = "absent"
"""The name in that file of the places of sources that were not there."""
_VERSION: Final = 1


def tokenize(
    inputs: Sequence[str] | Listing,
    output: Path,
    tokenizer: VideoTokenizer,
    settings: TokenizeSettings | None = None,
    *,
    readers: int | None = None,
    max_failed: str = DEFAULT_MAX_FAILED,
    retry_failed: bool = False,
    progress: ShowProgress | None = None,
    make_shards: MakeShards | None = None,
) -> Manifest:
    """Make a token dataset of everything that `inputs` name, and return its manifest.

    A run that was killed goes on when it is started again with the same arguments. A finished dataset is left
    as it is, unless failed sources are tried again. Then it can be read as it was until the new shards are
    whole, and it stays as it was if the run does not come so far.

    Args:
        inputs: what `cvivit.inputs.find_sources` takes, or what `list_inputs` returned for it.
        output: the folder of the dataset.
        tokenizer: what makes the tokens.
        settings: how sources are read and cut.
        readers: how many processes read.
        max_failed: how many inputs may be unusable: "5%" of them, or a number.
        retry_failed: whether inputs that could not be used before, in this folder, are tried again.
        progress: called a few times a second.
        make_shards: what makes the shards, by default this process with its readers.

    Raises:
        InputError: an input matches nothing, or cannot be understood.
        NoDataError: none of the inputs could be used.
        TooManyFailedError: more inputs than allowed cannot be used.
        OutputMismatchError: `output` holds a dataset of other inputs, settings or weights, or another run
            writes to it.
        ShardError: `output` holds a finished dataset that is damaged, and failed sources are tried again.
        DataWriteError: `output` cannot be written. What is there stays, and the run may be started again.
    """
    model = ModelFacts(
        fingerprint=tokenizer.fingerprint, config=tokenizer.config, precision=tokenizer.precision
    )
    make = make_shards or MakeInOrder(partial(encode_sources, tokenizer, readers=readers))
    return make_dataset(
        inputs,
        output,
        model,
        make,
        settings,
        max_failed=max_failed,
        retry_failed=retry_failed,
        progress=progress,
    )


def check_and_list(
    inputs: Sequence[str] | Listing,
    output: Path,
    config: CViViTConfig,
    settings: TokenizeSettings,
    max_failed: str,
) -> Listing:
    """Return the sources of a dataset. What is wrong with the arguments is found before anything is written.

    Args:
        inputs: as for `tokenize`, and so are the others that are not named here.
        output: the folder of the dataset.
        config: that of the network.
        settings: how sources are read and cut.
        max_failed: how many inputs may be unusable.

    Raises:
        ConfigError: (a ValueError) the limit is mistyped, or the overlap is too large.
        InputError, NoDataError: as for `tokenize`.
    """
    most_failed(max_failed, 0)
    read_options(settings).clip_format(config)
    return inputs if isinstance(inputs, Listing) else list_inputs(inputs, output)


def make_dataset(
    inputs: Sequence[str] | Listing,
    output: Path,
    model: ModelFacts,
    make_shards: MakeShards,
    settings: TokenizeSettings | None = None,
    *,
    max_failed: str = DEFAULT_MAX_FAILED,
    retry_failed: bool = False,
    progress: ShowProgress | None = None,
) -> Manifest:
    """Make a token dataset as `tokenize` does, with shards that something else makes, such as a cluster.

    Args:
        inputs: as for `tokenize`, and so are the others that are not named here.
        output: the folder of the dataset.
        model: what the dataset says of the model.
        make_shards: what makes the shards.
        settings: how sources are read and cut.
        max_failed: how many inputs may be unusable.
        retry_failed: whether inputs that could not be used before are tried again.
        progress: called a few times a second.
    """
    settings = settings or TokenizeSettings()
    listing = check_and_list(inputs, output, model.config, settings, max_failed)
    identity = identity_of(listing, settings, model.fingerprint, model.precision)
    with typed_write_errors(output), lock_folder(output):
        older = compare(output, identity, listing)
        if older is not None and is_complete(output, older, retry_failed=retry_failed):
            return older
        _begin(output, identity | {ABSENT: list(listing.absent)})
        sources = listing.sources
        duplicates = find_duplicates(sources, listing.sizes) if settings.deduplicate else {}
        plan = Plan(output, sources, settings, model, duplicates=duplicates, replaces=older is not None)
        joining = is_joining(plan)
        if older is not None and not joining and not (output / WORK_NAME / AGAIN_NAME).exists():
            reopen(plan, older)
        with round_of_tries(plan) if retry_failed and not joining else nullcontext():
            records = _records(plan, look=not joining)
            ceiling = FailureCeiling(max_failed, len(sources))
            for record in records.values():
                ceiling.add(record.failed)
            missing = [number for number in range(len(plan)) if number not in records]
            if missing:
                for record in make_shards(plan, missing, ceiling, progress=progress):
                    records[record.number] = record
            return finish(plan, [records[number] for number in range(len(plan))], listing.digest)


def identity_of(
    listing: Listing, settings: TokenizeSettings, model: str, precision: str | None
) -> dict[str, Any]:
    """Return all that must be the same for a dataset to be continued.

    Args:
        listing: the sources.
        settings: how they are read and cut.
        model: the fingerprint of the weights.
        precision: None if it is not known yet. It is not compared then.
    """
    options = settings.as_dict() | ({} if precision is None else {"precision": precision})
    return {"version": _VERSION, "model": model, "inputs": listing.digest, **options}


def compare(output: Path, identity: dict[str, Any], listing: Listing) -> Manifest | None:
    """Return the manifest of a dataset, or None if it is not finished or not begun.

    An unfinished dataset is continued when sources are there that were not when it was begun.

    Args:
        output: the folder of the dataset.
        identity: all that must be the same.
        listing: the sources.

    Raises:
        OutputMismatchError: it is another dataset.
        DataError: its manifest is damaged.
    """
    if (output / MANIFEST_NAME).exists():
        manifest = Manifest.load(output)
        theirs = {"version": _VERSION, "model": manifest.model, "inputs": manifest.inputs, **manifest.options}
        _refuse_difference(output, theirs, identity, listing, "a dataset")
        return manifest
    path = output / WORK_NAME / RUN_NAME
    if path.exists():
        theirs = json.loads(path.read_bytes())
        if listing.is_that_of(theirs.get("inputs", ""), theirs.pop(ABSENT, ())):
            theirs["inputs"] = listing.digest
        _refuse_difference(output, theirs, identity, listing, "an unfinished dataset")
    return None


def is_complete(output: Path, manifest: Manifest, *, retry_failed: bool) -> bool:
    """Return whether a dataset with a manifest is to be left as it is, and delete what killed runs left."""
    work = output / WORK_NAME
    if (work / JOINING_NAME).exists():
        return False
    retry = retry_failed and has_failed(manifest)
    if not (retry and (work / AGAIN_NAME).exists()):
        shutil.rmtree(work, ignore_errors=True)
    return not retry


def _begin(output: Path, identity: dict[str, Any]) -> None:
    """Make the work folder, or delete what a killed run was writing there."""
    work = output / WORK_NAME
    work.mkdir(exist_ok=True)
    for folder in (output, work):
        for unfinished in folder.glob(f"{SIBLING_PREFIX}*"):
            unfinished.unlink()
    path = work / RUN_NAME
    if not path.exists() or json.loads(path.read_bytes()) != identity:
        with replacing(path) as file:
            file.write(json.dumps(identity).encode())


def _refuse_difference(
    output: Path, theirs: dict[str, Any], ours: dict[str, Any], listing: Listing, what: str
) -> None:
    differing = sorted(name for name in ours if theirs.get(name) != ours[name])
    if not differing:
        return
    advice = "choose another folder"
    if differing == ["inputs"] and listing.absent:
        first = listing.sources[listing.absent[0]].location
        advice = (
            f"{len(listing.absent)} of them cannot be found now, such as {first}; {advice} if that is right"
        )
    raise OutputMismatchError(f"{output} holds {what} that differs in {' and '.join(differing)}: {advice}")


def _records(plan: Plan, *, look: bool) -> dict[int, ShardRecord]:
    found = {}
    for number in range(len(plan)):
        record = read_record(plan.task(number), look=look)
        if record is not None:
            found[number] = record
    return found
