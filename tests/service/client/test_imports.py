"""What the client imports, and what it must not."""

import subprocess
import sys
from typing import get_args

import cvivit.video
from service.client import calls
from service.client.client_errors import ProblemError, problem_error
from service.problems import catalogue
from tests.places import ROOT

FORBIDDEN = ("torch", "fastapi", "starlette", "av", "uvicorn", "structlog", "prometheus_client")


def imported_by(module: str) -> set[str]:
    code = f"import sys, {module}; print(*(name for name in {FORBIDDEN!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_client_imports_no_heavy_package() -> None:
    assert not imported_by("service.client")


def test_tokens_import_no_heavy_package() -> None:
    assert not imported_by("cvivit.tokens")


def test_fits_are_those_of_the_library() -> None:
    assert get_args(calls.Fit) == get_args(cvivit.video.Fit)


def test_every_error_of_the_service_has_its_class_in_the_client() -> None:
    for kind in catalogue():
        error = problem_error({"code": kind.code, "detail": "said"}, 400)
        assert isinstance(error, ProblemError)
        assert isinstance(error, kind)
        assert (error.code, str(error)) == (kind.code, "said")
