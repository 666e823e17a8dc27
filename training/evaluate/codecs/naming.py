"""From what a user names to codecs: weights of this project, or a Python object `module:attribute`."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cvivit.config import CViViTConfig
from cvivit.runtime.precision import Precision
from cvivit.tokenizer import VideoTokenizer
from training.errors import CodecError
from training.evaluate.codecs.protocol import Codec, CodecFamily, families
from training.evaluate.codecs.tokens import TokenizerCodec
from training.export import Which, choose_checkpoint, load_checkpoint

_OBJECT = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
"""Pattern of `module:attribute`."""


def find_contestants(
    names: Iterable[str], config: CViViTConfig, *, which: Which, device: str, precision: Precision
) -> list[CodecFamily]:
    """Return the codecs that a user named, each name once.

    Args:
        names: weights (anything that `load_checkpoint` takes), or `module:attribute`.
        config: the network whose clips they have to take.
        which: the checkpoint to take of runs.
        device: where tokenizers run.
        precision: in which precision.

    Raises:
        CodecError: an object cannot be imported or is no codec, or a tokenizer takes other clips.
        WeightsError, CheckpointCorruptError: as `load_checkpoint` says.
    """
    codecs: list[Codec] = []
    for name in dict.fromkeys(names):
        if _OBJECT.fullmatch(name) and not Path(name).exists():
            codecs += _imported(name)
        else:
            codecs.append(_tokenizer(name, config, which, device, precision))
    return families(codecs)


def _tokenizer(
    source: str, config: CViViTConfig, which: Which, device: str, precision: Precision
) -> TokenizerCodec:
    chosen = choose_checkpoint(source, which)
    weights = load_checkpoint(chosen.folder if chosen else source)
    if weights.config.clip_shape != config.clip_shape:
        theirs, ours = (_clips_of(each) for each in (weights.config, config))
        raise CodecError(f"--against {source}: it takes clips of {theirs}, and the weights measured {ours}")
    tokenizer = VideoTokenizer(weights, device=device, precision=precision)
    name = f"{source}, {chosen.folder.name}" if chosen else source
    return TokenizerCodec(tokenizer, name)


def _clips_of(config: CViViTConfig) -> str:
    frames, height, width, _ = config.clip_shape
    return f"{frames} frames of {height}x{width}"


def _imported(name: str) -> list[Codec]:
    """Return the codecs of an object: one codec, several, or a function without arguments that makes them."""
    module, _, attribute = name.partition(":")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:  # a console script has not the folder
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        if callable(found) and not _is_codec(found):
            found = found()
    except Exception as error:  # whatever the user's code raises
        raise CodecError(f"--against {name}: {type(error).__name__}: {error}") from error
    codecs = [found] if _is_codec(found) else list(found) if isinstance(found, Iterable) else []
    if not codecs or not all(map(_is_codec, codecs)):
        raise CodecError(
            f"--against {name}: it is no codec and no list of codecs, "
            "which have a name, a setting, encode() and decode()"
        )
    return codecs


def _is_codec(found: Any) -> bool:
    return isinstance(found, Codec) and not isinstance(found, type)
