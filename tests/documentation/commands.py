"""Commands that the documentation names: split into words, and compared with what the programs take."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import typer

from tests.places import ROOT

_BETWEEN = {"|", "||", "&&", ";", "&", "(", ")", "|&"}
_FOLDERS = {"benchmarks", "cvivit", "docker", "docs", "examples", "service", "tests", "training"}
_IMAGES = {"cvivit-service": "service", "cvivit-training": "training"}


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of shell text as lists of words, without redirections and variables before them."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"\[(-[^][]*)\]", r"\1", text)  # an option that may be left out
    text = re.sub(r" \.\.\.|(?<=\w)(\|\w+)+", "", text)  # "and more", and all choices but the first
    for line in text.split("\n"):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        redirected = False
        for word in [*lexer, ";"]:
            if word in _BETWEEN:
                while words and (re.match(r"\w+=", words[0]) or words[0] in ("sudo", "exec", "time")):
                    words.pop(0)
                if words:
                    yield words
                words = []
            elif word.strip("<>&") == "":
                redirected = True
            elif redirected:
                redirected = False
            else:
                words.append(word)


def own_program(words: Sequence[str]) -> tuple[str, list[str]]:
    """Return which program of this project a command runs, and its arguments. "" is none of them."""
    name, rest = words[0], list(words[1:])
    if name in ("cvivit", "cvivit-service", "cvivit-training"):
        return {"cvivit": "cvivit"}.get(name, name.removeprefix("cvivit-")), rest
    if name == "docker" and rest[:1] == ["run"]:
        image = next((word for word in rest if word.split(":")[0] in _IMAGES), None)
        if image is None or "-m" in rest:
            return own_program(["torchrun", *rest]) if "-m" in rest else ("", [])
        return _IMAGES[image.split(":")[0]], rest[rest.index(image) + 1 :]
    if name in ("python", "python3", "torchrun") and "-m" in rest:
        module = rest[rest.index("-m") + 1]
        return (module if module.split(".")[0] in _FOLDERS else ""), rest[rest.index("-m") + 2 :]
    if name in ("python", "python3") and rest and rest[0].endswith(".py"):
        return rest[0], rest[1:]
    if name == "sbatch":
        script = next(n for n, word in enumerate(rest) if word.endswith(".sbatch"))
        return "training", ["train", *rest[script + 1 :]]
    return "", []


def problems(words: Sequence[str], *, whole: bool = True) -> list[str]:
    """Return what is wrong with a command: options that its program does not know, files that are not there.

    Args:
        words: the command.
        whole: whether arguments may not be missing.
    """
    found = [
        f"there is no {word}"
        for word in words
        if word.split("/")[0] in _FOLDERS and re.search(r"\.(Dockerfile|yaml|py|sh|sbatch|md|mp4)$", word)
        if not (ROOT / word).exists()
    ]
    if words[0] == "make":
        targets = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
        known = re.findall(r"^(\S+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        return found + [f"make has no {target}" for target in targets if target not in known]
    program, arguments = own_program(words)
    if not program or found:
        return found
    if program in ("cvivit", "training") or (program == "service" and arguments[:1] == ["bench"]):
        return _problems_of_typer(program, arguments, whole)
    known_options = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", _help(program)))
    return [
        f"{program} has no {word}"
        for word in arguments
        if re.match(r"--?[a-zA-Z]", word) and word.split("=")[0] not in known_options
    ]


def _problems_of_typer(program: str, arguments: list[str], whole: bool) -> list[str]:
    app, prepare = _typer_app(program)
    arguments = prepare(arguments[1:] if program == "service" else arguments)
    command: Any = typer.main.get_command(app)
    name = program
    while hasattr(command, "commands"):
        if not arguments or arguments[0].startswith("-"):
            break
        name = arguments.pop(0)
        if name not in command.commands:
            return [f"{program} has no command {name}"]
        command = command.commands[name]
    try:
        context = command.make_context(name, list(arguments), resilient_parsing=False)
    except Exception as error:  # click's errors, which typer ships under another name
        kind = type(error).__name__
        allowed = {"Exit", "NoArgsIsHelpError"} | (set() if whole else {"MissingParameter"})
        text = str(getattr(error, "message", error))
        return [] if kind in allowed or "exist" in text else [f"{kind}: {text}"]
    if program == "training" and name in ("train", "bench"):
        return _problems_of_settings(context.params)
    return []


def _problems_of_settings(parameters: dict[str, Any]) -> list[str]:
    from training.config.loading import load_config
    from training.errors import TrainingError

    if not (ROOT / "training" / "presets" / f"{parameters['config']}.toml").exists():
        return []  # a file or a run that the reader has
    try:
        load_config(parameters["config"], parameters["overrides"] or [])
    except TrainingError as error:
        return [str(error)]
    return []


def _typer_app(program: str) -> tuple[typer.Typer, Callable[[list[str]], list[str]]]:
    if program == "cvivit":
        from cvivit.commands.app import app

        return app, list
    if program == "service":
        from service.bench.cli import app as bench

        return bench, list
    from training.app import app as training
    from training.app import spread_sets

    return training, lambda arguments: list(spread_sets(arguments))


@cache
def _help(program: str) -> str:
    start = [program] if program.endswith(".py") else ["-m", program]
    if not program.endswith(".py") and not _takes_arguments(program):
        return ""
    shown = subprocess.run(
        [sys.executable, *start, "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return shown.stdout


def _takes_arguments(module: str) -> bool:
    """Return whether a module is a program with `--help`. Others would run and print something else."""
    path = ROOT / Path(*module.split("."))
    sources = [path / "__main__.py", path.with_suffix(".py")]
    text = "".join(each.read_text() for each in sources if each.exists())
    return "argparse" in text or "CliApp" in text or module == "service"
