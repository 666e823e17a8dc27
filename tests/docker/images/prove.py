"""Prove the images without a container engine: run the steps of their Dockerfiles in chroots, and use them.

    sudo python -m tests.docker.images.prove service
    sudo python -m tests.docker.images.prove training

Needs Linux, root, debootstrap and util-linux. Debian bookworm with its own Python 3.11 stands in for
`python:3.11-slim-bookworm`, and torch's CPU wheels for those of CUDA. Behind a proxy or a private index,
configure pip: `--env PIP_CONFIG_FILE=/etc/pip.conf --bind /etc/pip.conf`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.docker.images.chroot import Bind, Sandbox
from tests.docker.images.context import Context
from tests.docker.images.dockerfile import Dockerfile, Instruction, Stage, expand, parse
from tests.docker.images.exercise import exercise_service, exercise_training
from tests.places import ROOT

MIRROR = "http://deb.debian.org/debian"
STAND_IN = ("bookworm", "python3,python3-venv,ca-certificates")
BUILD_ARGUMENTS = {"TORCH": "cpu"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(kw_only=True)
class Built:
    """A stage as far as it has been built."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    directory: str = "/"
    user: tuple[int, int] = (0, 0)
    volumes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Builder:
    """Builds the stages of a Dockerfile, each in a folder of its own.

    Attributes:
        context: the folder that COPY reads from.
        base: the chroot that replaces every base image.
        work: the folder in which the stages are made.
        binds: files that are visible to RUN steps.
        passed: variables for RUN steps alone, as an engine passes its proxy's.
    """

    context: Context
    base: Path
    work: Path
    binds: Sequence[Bind]
    passed: Mapping[str, str]

    def build(self, dockerfile: Dockerfile) -> Built:
        """Build every stage and return the last."""
        built: dict[str, Built] = {}
        for stage in dockerfile.stages:
            built[stage.name] = self._stage(stage, built)
        return built[dockerfile.image.name]

    def _stage(self, stage: Stage, earlier: Mapping[str, Built]) -> Built:
        say(f"FROM {stage.base} AS {stage.name} (stand-in: {self.base})")
        here = Built(root=self.work / stage.name)
        subprocess.run(["cp", "-a", "--reflink=auto", self.base, here.root], check=True)
        arguments: dict[str, str] = {}
        for step in stage.instructions:
            say(f"{step.keyword} {step.text}")
            variables = arguments | here.environment
            match step.keyword:
                case "ARG":
                    defaults = {name: expand(value or "", variables) for name, value in step.pairs().items()}
                    arguments |= {name: BUILD_ARGUMENTS.get(name, value) for name, value in defaults.items()}
                case "ENV":
                    here.environment |= {
                        name: expand(value or "", variables) for name, value in step.pairs().items()
                    }
                case "WORKDIR":
                    here.directory = expand(step.text, variables)
                    (here.root / here.directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
                case "USER":
                    uid, _, gid = step.text.partition(":")
                    here.user = (int(uid), int(gid))
                case "VOLUME":
                    here.volumes += step.words()
                case "COPY":
                    self._copy(step, here, earlier)
                case "RUN":
                    self._run(step.text, here, variables)
        return here

    def _run(self, command: str, here: Built, variables: Mapping[str, str]) -> None:
        Sandbox(
            root=here.root,
            environment={**variables, **self.passed},
            directory=here.directory,
            user=here.user,
            binds=self.binds,
        ).run(["/bin/sh", "-c", command])

    def _copy(self, step: Instruction, here: Built, earlier: Mapping[str, Built]) -> None:
        *sources, target = step.words()
        for source in sources:
            into = here.root / (Path(here.directory) / target).relative_to("/")
            if "from" in step.flags:
                into.parent.mkdir(parents=True, exist_ok=True)
                tree = earlier[step.flags["from"]].root / source.lstrip("/")
                subprocess.run(["cp", "-a", tree, into], check=True)
                continue
            files = self.context.files(source)
            if not files:
                raise SystemExit(f"line {step.line}: COPY {source}: no such file in the build's context")
            is_folder = (self.context.root / source).is_dir()
            for name in files:
                place = into / Path(name).relative_to(source) if is_folder else into
                place = place / Path(name).name if target.endswith("/") and not is_folder else place
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.context.root / name, place)


def make_base(base: Path) -> None:
    """Make the chroot that replaces the base image, unless it exists, with Python at the same path."""
    if not base.exists():
        suite, packages = STAND_IN
        partial = base.with_name(f"{base.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={packages}", suite, str(partial), MIRROR]
        subprocess.run(command, check=True)
        (partial / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        partial.rename(base)
    # an engine writes these two into every container; torchrun looks its own host up
    shutil.copyfile("/etc/resolv.conf", base / "etc/resolv.conf")
    (base / "etc/hosts").write_text(f"127.0.0.1 localhost {socket.gethostname()}\n")


def say(text: str) -> None:
    """Print a step before it runs."""
    print(f"\n==> {text}", flush=True)


def main(arguments: Sequence[str]) -> None:
    """Prove one image. Exits with another code than 0 where a step fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.docker.images.prove", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("image", choices=("service", "training"))
    parser.add_argument("--base", type=Path, help="folder of the stand-in, made where it is not there")
    parser.add_argument("--model", default="demo", help="what to serve: `demo`, or a folder or file here")
    parser.add_argument("--bind", action="append", default=[], metavar="SOURCE[:TARGET]",
                        type=Bind.parse, help="shown read-only to the build's steps")  # fmt: skip
    parser.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]",
                        help="variable of the build's steps")  # fmt: skip
    options = parser.parse_args(arguments)
    if os.geteuid():
        raise SystemExit("chroot and mounts need root")

    pairs = (text.partition("=") for text in options.env)
    passed = {name: value if equals else os.environ[name] for name, equals, value in pairs}
    dockerfile = parse((ROOT / "docker" / f"{options.image}.Dockerfile").read_text())
    with tempfile.TemporaryDirectory(prefix="cvivit-prove-") as folder:
        work = Path(folder)
        base = options.base or work / "base"
        make_base(base)
        builder = Builder(context=Context.of(ROOT), base=base, work=work, binds=options.bind, passed=passed)
        built = builder.build(dockerfile)
        sandbox = Sandbox(
            root=built.root,
            environment=built.environment,
            directory=built.directory,
            user=built.user,
            volumes=built.volumes,
            read_only=True,
        )
        say(f"START {dockerfile.image.last('ENTRYPOINT').text} as {built.user}, read-only, tmpfs on /tmp")
        if options.image == "service":
            exercise_service(sandbox, dockerfile.image, options.model, clip=ROOT / "tests/data/city.mp4")
        else:
            exercise_training(sandbox, dockerfile.image)
    say(f"PROVED {options.image}.Dockerfile")


if __name__ == "__main__":
    main(sys.argv[1:])
