from __future__ import annotations

import subprocess
import time

import pytest

from cvivit.errors import InputError
from cvivit.inputs import find_sources
from cvivit.inputs.braces import MAX_BRACE_DEPTH, MAX_BRACE_NAMES, expand_braces, has_braces
from cvivit.shards.urls import expand_shards

PATTERNS = (
    "a",
    "a-{000..003}.tar",
    "{3..1}",
    "{8..10}-{a,b}",
    "{08..10}",
    "{0..9..4}{9..0..4}",
    "{-1..1}{a..e..2}{C..A}",
    "x{a,{b,c}d,{1..3}}y",
    "{a,b}{,-more}",
    "{a,{b,c}",
    "a}{b,c}",
    "{a}{}{1..b}",
    r"\{a,b\}",
    "{x{1..2}}",
)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_braces_stand_for_what_bash_makes_of_them(pattern: str) -> None:
    shell = subprocess.run(
        ["bash", "-c", f"printf '%s\\n' {pattern}"], capture_output=True, text=True, check=True
    )
    assert list(expand_braces(pattern)) == shell.stdout.splitlines()


def test_what_has_braces_that_mean_more() -> None:
    assert [has_braces(name) for name in ("a{1..2}", "{a,b}", "{{a,b}}")] == [True] * 3
    assert [has_braces(name) for name in ("a", "{a}", "{a,b", r"\{a,b\}", "a,b")] == [False] * 5


TOO_MANY = (
    "s-{000000000000..999999999999}.tar",
    f"s-{{0..{MAX_BRACE_NAMES}}}.tar",
    f"s-{{0..{'9' * 1000}}}.tar",
    "s-{0..999}-{0..999}-{0,1}.tar",
    "{a,b}" * 400 + ".tar",
    "{1,{2," * 9 + "{0..9999999}" + "}}" * 9 + ".tar",
)


@pytest.mark.parametrize("place", ["", "memory://films/", "/films/"])
@pytest.mark.parametrize("pattern", TOO_MANY)
def test_too_many_names_are_counted_and_not_made(pattern: str, place: str) -> None:
    began = time.perf_counter()
    for read in (find_sources, expand_shards):
        with pytest.raises(InputError, match="its braces stand for more than 1,000,000 names") as error:
            read([place + pattern])
        assert error.value.limit == MAX_BRACE_NAMES
    assert time.perf_counter() - began < 1


def test_braces_that_stand_too_deep() -> None:
    def nested(depth: int) -> str:
        return "{" * depth + "a,b" + "}" * depth

    assert len(list(expand_braces(nested(MAX_BRACE_DEPTH)))) == 2
    for read in (find_sources, expand_shards):
        with pytest.raises(InputError, match="its braces stand in each other more than 100 deep"):
            read([nested(MAX_BRACE_DEPTH + 1)])
    assert list(expand_braces("{" * 2000)) == ["{" * 2000]


def test_as_many_as_allowed_are_made() -> None:
    assert (
        sum(1 for _ in expand_braces(f"s-{{1..{MAX_BRACE_NAMES // 1000}}}-{{000..999}}")) == MAX_BRACE_NAMES
    )
