"""Export a checkpoint to a folder that `VideoTokenizer.from_pretrained` loads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from cvivit.errors import (
    CViViTError,
    WeightsMismatchError,
    WeightsNotFoundError,
    WeightsUnavailableError,
)
from cvivit.files import replacing
from cvivit.folders import typed_write_errors
from cvivit.weights import LoadedWeights, encoder_fingerprint, load_weights, write_weights
from cvivit.weights.card import LIBRARY, model_card, renewed
from cvivit.weights.description import read_config
from cvivit.weights.fingerprints import decides_tokens
from cvivit.weights.layout import CONFIG
from cvivit.weights.source import DEMO
from training.config.loading import preset_names
from training.errors import CheckpointCorruptError, OutputMismatchError
from training.run.saving.checkpoint import FOLDER, MANIFEST, NETWORK, CheckpointStore, find_fault
from training.run.saving.networks import FREE_FIELDS, fields_that_differ
from training.run.saving.origin import ORIGINS, Origin, read_origins

CARD = "README.md"
RUNS = "runs"
"""The folder that the presets write their runs to."""
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

Dtype = Literal["float32", "float16", "bfloat16"]
Which = Literal["best", "newest"]


@dataclass(frozen=True, kw_only=True)
class ChosenCheckpoint:
    """The checkpoint that was taken from a run."""

    folder: Path
    reason: str
    """Why it was taken, in words."""


def export(
    checkpoint: str | Path,
    output: Path,
    *,
    which: Which = "best",
    averaged: bool = True,
    dtype: Dtype = "float32",
    name: str | None = None,
    license: str | None = None,  # noqa: A002 - the card's own name for it
    tokens_of: Sequence[str | Path] = (),
) -> str:
    """Write `config.json`, `model.safetensors` and a model card, and return the fingerprint of the weights.

    If the run started from other weights, and the tensors that decide tokens still equal theirs to the bit,
    `config.json` lists their fingerprint as `tokens_of`. Decoding then accepts their tokens.

    If there is a model card already, only its table is replaced, and the rest of its text is kept.

    Args:
        checkpoint: the folder of a run, one of its checkpoints, or anything else that `load_weights` takes: a
            folder that accelerate saved, a `.bin` or `.safetensors` file, a repository of the Hub.
        output: the folder to write. It is made if it does not exist.
        which: which checkpoint of a run to export: the best by validation (before any, the newest), or the
            newest.
        averaged: whether to export the averaged weights if the checkpoint has them.
        dtype: type of the floating-point weights. Those of the quantizer stay float32.
        name: `owner/name` on the Hub, for the card; by default the output folder's name.
        license: identifier of the licence of the weights, for the card.
        tokens_of: further weights to compare with, and to list in the same way: anything that `checkpoint`
            may be.

    Raises:
        WeightsMismatchError: weights in `tokens_of` give other tokens. It names a tensor that differs.
        WeightsNotFoundError: there is no such checkpoint.
        CheckpointCorruptError: the checkpoint is damaged, or every checkpoint of the run is.
        WeightsError: the weights are damaged, or do not fit the network.
        OutputMismatchError: `output` is a run, a checkpoint or another folder whose `config.json` would be
            lost, or its README.md is not a model card of ours, or lacks the name or the licence that was
            given.
        DataWriteError: `output` cannot be written. What was there before is unchanged.
    """
    if (output / FOLDER).is_dir() or (output / MANIFEST).is_file() or _is_foreign(output / CONFIG):
        raise OutputMismatchError(f"{output} is not for exports: its own config.json would be lost")
    card = output / CARD
    with typed_write_errors(output):
        words = _words(card, name, license)
    weights = load_checkpoint(checkpoint, which=which, averaged=averaged)
    origins = [*origins_of(checkpoint, which), *(_same_encoder(weights, other) for other in tokens_of)]
    encoder = encoder_fingerprint(weights.state_dict)
    valid = [origin.fingerprint for origin in origins if origin.encoder == encoder]
    with typed_write_errors(output):
        fingerprint = write_weights(
            weights.config, weights.state_dict, output, dtype=DTYPES[dtype], tokens_of=valid
        )
        if words is None:
            text = model_card(
                weights.config,
                fingerprint,
                name or output.resolve().name,
                license=license,
                tokens_of=valid,
            )
        else:
            text = renewed(words, weights.config, fingerprint, valid)
        with replacing(card) as file:
            file.write(text.encode(errors="surrogateescape"))
    return fingerprint


def find_checkpoint(run: str | Path, which: Which = "best") -> Path | None:
    """Return the folder of the checkpoint to take from a run, as `choose_checkpoint` chooses it."""
    chosen = choose_checkpoint(run, which)
    return chosen.folder if chosen else None


def choose_checkpoint(run: str | Path, which: Which = "best") -> ChosenCheckpoint | None:
    """Return the checkpoint to take from a run, and why this one, or None if `run` is not a run.

    Raises:
        WeightsNotFoundError: the run has no checkpoint.
        CheckpointCorruptError: every checkpoint of the run is damaged.
    """
    return _of_run(Path(run), which) if (Path(run) / FOLDER).is_dir() else None


def load_checkpoint(checkpoint: str | Path, *, which: Which = "best", averaged: bool = True) -> LoadedWeights:
    """Return the checked weights of a checkpoint. Arguments and errors are those of `export`."""
    folder = find_checkpoint(checkpoint, which) or Path(checkpoint)
    if not (folder / MANIFEST).is_file():
        return _load_other(checkpoint)
    files = [folder / f"{module}.safetensors" for module in (("ema", "model") if averaged else ("model",))]
    present = [file for file in files if file.is_file()]
    if not present:
        raise WeightsNotFoundError(f"{folder} holds no weights")
    # A flipped bit would give another weight without any error, so the checksum is compared.
    if fault := find_fault(folder, (present[0].name, NETWORK)):
        raise CheckpointCorruptError(f"{fault}; another checkpoint of the run may be sound")
    return load_weights(present[0], config=read_config(folder / NETWORK))


def origins_of(checkpoint: str | Path, which: Which = "best") -> tuple[Origin, ...]:
    """Return the weights that the run of a checkpoint started from. Anything but a checkpoint tells none.

    What a `config.json` states as `tokens_of` is not taken over, because only its exporter could compute it.

    Raises:
        CheckpointCorruptError: the file that tells it is damaged.
    """
    folder = find_checkpoint(checkpoint, which) or Path(checkpoint)
    if not (folder / MANIFEST).is_file() or not (folder / ORIGINS).is_file():
        return ()
    if fault := find_fault(folder, (ORIGINS,)):
        raise CheckpointCorruptError(fault)
    return read_origins(folder)


def _same_encoder(weights: LoadedWeights, other: str | Path) -> Origin:
    """Return other weights as an origin, if they give every video the same tokens as `weights`.

    Raises:
        WeightsMismatchError: they do not.
    """
    theirs = load_checkpoint(other)
    fields = fields_that_differ(weights.config, theirs.config.model_dump(mode="json"))
    tensors = (
        key
        for key, tensor in weights.state_dict.items()
        if decides_tokens(key) and not torch.equal(tensor, theirs.state_dict[key])
    )
    found = next((name for name in fields if name not in FREE_FIELDS), None) or next(tensors, None)
    if found is not None:
        raise WeightsMismatchError(f"{other} gives other tokens than the weights to export: {found} differs")
    return Origin.of(theirs)


def _load_other(source: str | Path) -> LoadedWeights:
    """Load weights that are no checkpoint of ours, and say so if there is no run of that name either.

    The name of a missing run, such as `runs/demo`, looks like the name of a repository of the Hub.
    """
    path = Path(source)
    if source == DEMO or path.exists():
        return load_weights(source)
    if source in preset_names():
        raise WeightsNotFoundError(
            f"{source} is a preset, and not weights: name the folder of its run, {RUNS}/{source}"
        )
    if path.parts[:1] == (RUNS,):
        raise WeightsNotFoundError(f"there is no run, checkpoint or file of weights called {source}")
    try:
        return load_weights(source)
    except (WeightsNotFoundError, WeightsUnavailableError) as error:
        raise type(error)(
            f"there is no run, checkpoint or file of weights called {source} on this machine, and no "
            f"repository of the Hub gave weights: {error.__cause__ or error}"
        ) from error


def _is_foreign(config: Path) -> bool:
    """Return whether there is a configuration that does not describe a C-ViViT."""
    try:
        return config.exists() and not read_config(config)
    except CViViTError:
        return True


def _words(card: Path, name: str | None, license: str | None) -> str | None:  # noqa: A002
    """Return the text of the model card in `output`, which somebody may have edited, or None without one."""
    if not card.is_file():
        return None
    text = card.read_bytes().decode(errors="surrogateescape")
    if LIBRARY not in text:
        raise OutputMismatchError(f"{card} is no model card and would be lost: choose another folder")
    for option, value, missing in (
        ("--name", name, name is not None and name not in text),
        ("--license", license, license is not None and f"license: {license}" not in text.splitlines()),
    ):
        if missing:
            raise OutputMismatchError(
                f"{card} does not have the {option} {value}: "
                "write it on the card, or delete the card for a new one"
            )
    return text


def _of_run(run: Path, which: Which) -> ChosenCheckpoint:
    store = CheckpointStore(run, keep=1)
    best = store.best()
    if which == "best" and best is not None and store.path(best.step).is_dir():
        reason = f"the best by validation, {best.metric} {best.value:.4g}"
        return ChosenCheckpoint(folder=store.path(best.step), reason=reason)
    newest, _ = store.newest_sound()
    if newest is None:
        raise WeightsNotFoundError(f"{run} holds no checkpoint")
    reason = "the newest" if which == "newest" else "the newest, because no validation has chosen a best one"
    return ChosenCheckpoint(folder=store.path(newest), reason=reason)
