"""Test that the parsers of Dockerfiles and of .dockerignore understand what these files use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker.images.context import Context
from tests.docker.images.dockerfile import DockerfileError, expand, parse

TEXT = """
# a comment
ARG VERSION=3.11
FROM python:${VERSION} AS build
ENV A=1 \\
    # a comment inside
    B="two words"
RUN one \\
    && two

FROM python:$VERSION
COPY --from=build --chown=1:1 /a /b
HEALTHCHECK --timeout=5s CMD ["x", "y z"]
"""


def test_stages_instructions_and_flags_are_told_apart() -> None:
    build, image = parse(TEXT).stages
    assert (build.name, build.base) == ("build", "python:3.11")
    assert (image.name, image.base) == ("1", "python:3.11")
    assert build.last("ENV").pairs() == {"A": "1", "B": "two words"}
    assert (build.last("RUN").line, build.last("RUN").text) == (8, "one && two")
    assert image.last("COPY").flags == {"from": "build", "chown": "1:1"}
    assert image.last("COPY").words() == ["/a", "/b"]
    assert image.last("HEALTHCHECK").flags == {"timeout": "5s"}


@pytest.mark.parametrize("text", ["", "RUN x\nFROM y", "FROM x\nRUN y \\"])
def test_what_is_no_dockerfile_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError):
        parse(text)


def test_a_missing_instruction_is_named() -> None:
    with pytest.raises(DockerfileError, match="no USER"):
        parse(TEXT).image.last("USER")


def test_variables_are_replaced_and_unknown_ones_are_empty() -> None:
    assert expand("/a:$PATH:${B}:$C", {"PATH": "/bin", "B": "b"}) == "/a:/bin:b:"


def test_the_last_rule_that_matches_a_file_or_its_folder_decides(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("# all\n*\n!src\n**/*.pyc\nsrc/secret\n")
    for name in ("src/a.py", "src/deep/b.py", "src/deep/b.pyc", "src/secret/key", "other"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    context = Context.of(tmp_path)
    assert context.files("src") == ["src/a.py", "src/deep/b.py"]
    assert context.files("other") == []


def test_without_rules_everything_is_given(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert Context.of(tmp_path).files("a") == ["a"]
