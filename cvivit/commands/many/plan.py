"""From the arguments INPUT... OUTPUT to the outputs that are to be written."""

from __future__ import annotations

import difflib
import glob
import os
import posixpath
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import typer

from cvivit.commands.common import check_output
from cvivit.errors import InputNameError, NoDataError
from cvivit.inputs import Source, check_outputs, find_sources
from cvivit.inputs.braces import has_braces
from cvivit.inputs.kinds import CSV_SUFFIXES, LIST_SUFFIXES, PARQUET_SUFFIXES
from cvivit.inputs.locations import has_magic, is_url, suffix_of
from cvivit.inputs.remote import open_filesystem
from cvivit.inputs.shards.naming import SHARD_SUFFIX

PIPE = "-"
"""An input that is stdin, or an output that is stdout."""
TOKEN_SUFFIXES = (".safetensors", ".json")
_LISTS = LIST_SUFFIXES | CSV_SUFFIXES | PARQUET_SUFFIXES


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a command is to write."""

    output: Path
    """The file to write, or the folder of all outputs."""
    suffix: str
    """The suffix of every output."""
    single: str | None = None
    """The input, where one file is turned into one file. It may be `-`."""
    sources: list[Source] = field(default_factory=list)
    """What is turned into files of the folder."""

    left_out: list[Source] = field(default_factory=list)
    """What was found in folders, and is no video by its suffix."""

    def output_of(self, source: Source) -> Path:
        """Return where the output of a source belongs: its name with another suffix, in the folder."""
        return self.output / _output_name(source.name, self.suffix)


def make_plan(
    inputs: list[str],
    output: str,
    *,
    suffixes: Collection[str],
    suffix: str | None,
    what: str,
    find: Callable[[Iterable[str]], list[Source]] = find_sources,
) -> Plan:
    """Return what is to be written, after checking all that can be checked before anything is computed.

    One file and OUTPUT with a suffix make one file. Otherwise OUTPUT is a folder: where several inputs, a
    folder, a glob, a list or a table are named, and where OUTPUT is a folder or ends with a slash.

    Args:
        inputs: what the user named.
        output: the last argument.
        suffixes: the suffixes that outputs may have. The first is that of files in a folder.
        suffix: the suffix that the user chose by `--format`, or None.
        what: what is written, for messages.
        find: finds the sources of folders, globs, lists and tables. What it calls a video is read.

    Raises:
        typer.BadParameter: inputs and output do not fit together.
        NoDataError: an input matches nothing, or nothing usable.
        InputNameError: two inputs would share an output, or an output would lie outside the folder.
        OSError: the folder of the output does not exist.
    """
    own = os.path.splitext(output)[1].lower()
    is_folder = output.endswith("/") or (os.path.isdir(output) and own not in suffixes)
    one = len(inputs) == 1 and _is_one_file(inputs[0], find)
    if one and not is_folder:
        return _single(inputs[0], output, own, suffixes, suffix, what)
    if PIPE in inputs or output == PIPE:
        raise typer.BadParameter("- stands for one video alone, and goes to one file", param_hint="INPUT")
    if own in suffixes and not output.endswith("/"):
        raise typer.BadParameter(
            f"several inputs need a folder, and {output} is named like a file: write {output}/ if it is one",
            param_hint="OUTPUT",
        )
    if os.path.exists(output) and not os.path.isdir(output):
        raise typer.BadParameter(f"several inputs need a folder, and {output} is a file", param_hint="OUTPUT")
    ours = os.path.join(os.path.abspath(output), "")
    sources = [source for source in find(inputs) if not source.location.startswith(ours)]
    usable = [source for source in sources if _may_move(source)]
    if not usable:
        raise NoDataError(f"what was named holds no video outside of {output}")
    plan = Plan(
        output=Path(output),
        suffix=suffix or next(iter(suffixes)),
        sources=usable,
        left_out=[source for source in sources if not _may_move(source)],
    )
    for source in usable:
        if source.name.startswith("/") or ".." in source.name.split("/"):
            raise InputNameError(f"{source.location}: its output would lie outside {output}")
    check_outputs(usable, lambda name: _output_name(name, plan.suffix))
    return plan


def find_tokens(inputs: Iterable[str]) -> list[Source]:
    """Return the token files that inputs name: folders, searched to any depth, globs and files.

    Raises:
        NoDataError: an input matches nothing.
    """
    found: dict[str, Source] = {}
    for name in inputs:
        path = os.path.expanduser(name)
        if os.path.isdir(path):
            base, paths = path, [os.path.join(root, file) for root, file in _walk(path)]
        elif os.path.exists(path):
            base, paths = os.path.dirname(path), [path]
        else:
            base = os.path.dirname(path.split("*")[0].split("?")[0].split("[")[0])
            paths = [match for match in glob.glob(path, recursive=True) if os.path.isfile(match)]
        if not paths:
            raise NoDataError(f"{name}: no such file or folder that can be read, or no tokens in it")
        for match in paths:
            location = os.path.abspath(match)
            name_below = os.path.relpath(location, os.path.abspath(base))
            found.setdefault(location, Source(location=location, name=name_below, kind="video"))
    return sorted(found.values(), key=lambda source: source.location)


def nearest(word: str, words: Collection[str], *, cutoff: float = 0.5) -> str:
    """Return ". Did you mean W?" for the most similar of some words, or nothing if none is similar."""
    close = difflib.get_close_matches(word, words, n=1, cutoff=cutoff)
    return f". Did you mean {close[0]}?" if close else ""


def _walk(folder: str) -> Iterable[tuple[str, str]]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and name.lower().endswith(TOKEN_SUFFIXES):
                yield root, name


def _may_move(source: Source) -> bool:
    """Return whether a source may be a video. An AVIF may."""
    return source.kind == "video" or source.name.lower().endswith(".avif")


def _is_one_file(name: str, find: Callable[[Iterable[str]], list[Source]]) -> bool:
    """Return whether a name means one file, whether it exists or not."""
    holds_more = find is find_sources and suffix_of(name).lower() in _LISTS | {SHARD_SUFFIX}
    path = os.path.expanduser(name)
    if not is_url(name) and os.path.exists(path):
        return not os.path.isdir(path) and not holds_more
    means_more = has_magic(name) or (find is find_sources and has_braces(name))
    if is_url(name):
        return not means_more and not holds_more and bool(suffix_of(name))
    return not means_more


def _single(
    source: str, output: str, own: str, suffixes: Collection[str], suffix: str | None, what: str
) -> Plan:
    is_path = source != PIPE and not is_url(source)
    if is_path and not own:
        os.stat(os.path.expanduser(source))  # it was a folder that does not exist, rather than a single file
    if (output != PIPE and not os.path.exists(output)) or os.path.isfile(output):
        if own not in suffixes:
            names = " or ".join((", ".join(list(suffixes)[:-1]), list(suffixes)[-1]))
            hint = nearest(own, suffixes, cutoff=0.6)
            if suffix_of(source).lower() in suffixes:
                hint = f". INPUT comes first, and {output} is the last"
            elif not own:
                hint = f"; for a folder write {output}/"
            message = f"{output}: {what} are written as {names}{hint}"
            raise typer.BadParameter(message, param_hint="OUTPUT")
        if suffix not in (None, own):
            raise typer.BadParameter(
                f"{suffix[1:]} does not go with {os.path.basename(output)}", param_hint="--format"
            )
    if is_path:
        os.stat(os.path.expanduser(source))
    if output != PIPE:
        check_output(Path(output))
    if is_url(source):
        open_filesystem(source)  # a package that is missing is found before torch is imported
    chosen = suffix or (own if own in suffixes else next(iter(suffixes)))
    return Plan(output=Path(output), suffix=chosen, single=source)


def _output_name(name: str, suffix: str) -> str:
    return posixpath.splitext(name)[0] + suffix
