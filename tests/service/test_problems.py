import ast
import gzip
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

import service
from cvivit import errors as codec
from cvivit.errors import CViViTError
from service import errors
from service.engine import EngineError, QueueFullError
from service.errors import Routes
from service.openapi.problem_responses import problem_responses
from service.problems import MEDIA_TYPE, answer, catalogue, errors_page, meaning_of, status_of, title_of

DOCUMENT = Path(service.__file__).parent / "ERRORS.md"
WRITE = "from service.problems import errors_page; print(errors_page(), end='')"
MEMBERS = {"type", "title", "status", "detail", "instance", "code", "limit", "actual", "request_id"}


def test_every_error_is_documented() -> None:
    assert DOCUMENT.read_text() == errors_page(), f'write it anew: python -c "{WRITE}" > service/ERRORS.md'


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in catalogue()]
    assert len(codes) == len(set(codes))


def tree(kind: type[CViViTError]) -> set[type[CViViTError]]:
    return {kind}.union(*(tree(child) for child in kind.__subclasses__()))


@pytest.mark.parametrize(
    "root", [codec.VideoError, codec.TokensError, codec.DeviceError, EngineError, errors.ServiceError]
)
def test_every_error_of_a_request_has_a_status_of_its_own(root: type[CViViTError]) -> None:
    ours = {kind for kind in tree(root) if kind.__module__.startswith(("cvivit.", "service."))}
    assert ours - {errors.ServiceError} <= set(catalogue())


def test_what_is_not_in_the_table_tells_nothing() -> None:
    for error in (ValueError("/secret/path"), codec.WeightsNotFoundError("/secret/path"), KeyError()):
        told = answer(error, "/encode")
        assert told.status == 500
        assert told.problem["code"] == "internal_error"
        assert "secret" not in told.problem["detail"]


def test_the_nearest_ancestor_gives_the_status() -> None:
    class NewVideoError(codec.CorruptVideoError):
        """New."""

    assert status_of(NewVideoError) == 422


def test_a_limit_is_told() -> None:
    error = codec.VideoTooLargeError("too long", limit_name="max_seconds", limit=660, actual=700)
    problem = answer(error, "/encode").problem
    assert (problem["limit_name"], problem["limit"], problem["actual"]) == ("max_seconds", 660, 700)


def test_a_full_queue_says_when_to_return() -> None:
    assert answer(QueueFullError("full", retry_after_seconds=2.1), "/encode").headers["Retry-After"] == "3"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/no/such/route", 404, "not_found"),
        ("GET", "/encode", 405, "method_not_allowed"),
        ("DELETE", "/livez", 405, "method_not_allowed"),
        ("POST", "/docs", 405, "method_not_allowed"),
        ("POST", "/encode/", 404, "not_found"),
        ("GET", "/livez/", 404, "not_found"),
    ],
)
def test_the_frameworks_own_errors_are_problems(
    client: TestClient, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert set(problem) == MEMBERS
    assert (problem["status"], problem["code"], problem["instance"]) == (status, code, path)
    assert problem["request_id"] == response.headers["x-request-id"]


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "GZIP", "no such"])
@pytest.mark.parametrize("path", ["/encode", "/decode", "/reconstruct"])
def test_a_compressed_body_is_refused_by_name(client: TestClient, path: str, encoding: str) -> None:
    headers = {"content-type": "application/json", "content-encoding": encoding}
    response = client.post(path, content=gzip.compress(b"{}"), headers=headers)
    assert (response.status_code, response.json()["code"]) == (415, "content_encoding")
    assert encoding.split()[-1] in response.json()["detail"]
    assert response.headers["accept-encoding"] == "identity"


def test_a_body_may_say_that_it_is_not_compressed(client: TestClient, video: bytes) -> None:
    headers = [("content-encoding", "identity"), ("content-encoding", "")]
    assert client.post("/encode", content=video, headers=headers).status_code == 200


def test_a_bug_is_a_500_that_tells_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def burst(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("service.routes.encode.choose", burst)
    response = client.post("/encode", content=b"x")
    assert response.status_code == 500
    assert response.json()["code"] == "internal_error"
    assert "secret" not in response.text


def test_a_type_leads_to_its_entry(client: TestClient) -> None:
    problem_type = client.get("/no/such/route").json()["type"]
    page, _, anchor = problem_type.partition("#")
    assert f'id="{anchor}"' in client.get(page).text


def test_statuses_are_in_one_place_only() -> None:
    """No other file of the service raises a status: files raise errors, whose classes carry the status."""
    for path in Path(service.__file__).parent.rglob("*.py"):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert "HTTPException" not in names or path.name == "problems.py"


def test_every_error_has_a_title_and_a_meaning_of_one_sentence() -> None:
    for kind in catalogue():
        assert issubclass(kind, CViViTError)
        assert len(title_of(kind)) < 40
        assert not title_of(kind).endswith(".")
        assert len(meaning_of(kind)) < 120


def test_a_route_lists_the_errors_of_its_groups() -> None:
    listed = problem_responses(Routes.WORK, Routes.TOKENS, errors.NotFoundError)
    codes = {code for each in listed.values() for code in each["content"][MEDIA_TYPE]["examples"]}
    assert {"unauthorized", "busy", "queue_full", "device_lost", "token_range", "not_found"} <= codes
    assert not codes & {"multipart", "decoders_busy", "corrupt_video", "client_gone", "invalid_request"}
