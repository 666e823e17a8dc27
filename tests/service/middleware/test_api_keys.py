"""Keys are reloaded while requests come, and each owner of keys has limits."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog
from fastapi.testclient import TestClient

from service.errors import KeyLimitError
from service.middleware.api_keys import ApiKeys
from tests.marks import slow

Opened = Callable[..., TestClient]
Eventually = Callable[[Callable[[], bool]], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("first name=alice in_flight=2 per_minute=3\n")
    return path


def status(client: TestClient, key: str) -> int:
    return client.get("/info", headers={"authorization": f"Bearer {key}"}).status_code


def write_in_place(path: Path, content: str) -> None:
    path.write_text(content)


def replace(path: Path, content: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(content)
    other.replace(path)


def keep_the_time(path: Path, content: str) -> None:
    before = path.stat()
    path.write_text(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def turn_a_link(path: Path, content: str) -> None:
    """Replace a file as Kubernetes does for secrets."""
    folder = path.parent / f"data-{len(list(path.parent.iterdir()))}"
    folder.mkdir()
    (folder / "keys").write_text(content)
    link = path.parent / "link"
    link.symlink_to(folder / "keys")
    link.replace(path)


@pytest.mark.parametrize("change", [write_in_place, replace, keep_the_time, turn_a_link])
def test_a_file_that_changes_is_read_again(
    open_app: Opened, path: Path, eventually: Eventually, change: Callable[[Path, str], None]
) -> None:
    client = open_app(api_keys_file=path)
    assert (status(client, "first"), status(client, "other")) == (200, 401)
    change(path, "other name=alice in_flight=2 per_minute=3\n")
    eventually(lambda: status(client, "other") == 200)
    assert status(client, "first") == 401


@pytest.mark.parametrize(
    "content",
    [
        "",
        slow("# nothing\n"),
        slow("first in_flight=none\n"),
        None,
    ],
)
def test_a_reload_that_finds_no_key_keeps_the_old_ones_and_says_so(
    open_app: Opened, path: Path, eventually: Eventually, content: str | None
) -> None:
    client = open_app(api_keys_file=path)
    with structlog.testing.capture_logs() as logged:
        if content is None:
            path.unlink()
        else:
            path.write_text(content)
        eventually(lambda: any("not reloaded" in line["event"] for line in logged))
        assert status(client, "first") == 200
        path.write_text("other\n")
        eventually(lambda: status(client, "other") == 200)
    (line,) = (line for line in logged if "not reloaded" in line["event"])
    assert line["log_level"] == "error"
    assert str(path) in line["reason"]
    assert "first" not in str(logged)


def test_a_file_that_is_still_being_written_is_not_read(path: Path) -> None:
    """If half of the file were read, only half of the clients would be let in."""

    async def watched() -> set[int]:
        keys = ApiKeys(path)
        path.write_text("one\ntwo\n")
        await keys.reload()
        watching = asyncio.create_task(keys.watch())
        found = set()
        with path.open("w") as file:
            for number in range(10):
                print(f"key-{number}", file=file, flush=True)
                await asyncio.sleep(0.1)
                found.add(len(keys))
        await asyncio.sleep(1.5)
        watching.cancel()
        return found | {len(keys)}

    assert asyncio.run(watched()) == {2, 10}


def test_a_file_that_changes_all_the_time_is_read_even_so(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.middleware.api_keys.POLL_SECONDS", 0.05)
    monkeypatch.setattr("service.middleware.api_keys.PATIENCE_SECONDS", 0.3)

    async def watched() -> bool:
        keys = ApiKeys(path)
        watching = asyncio.create_task(keys.watch())
        for number in range(100):
            path.write_text("second\n" + "# another line\n" * number)
            await asyncio.sleep(0.02)
            if keys.find(b"second") is not None:
                break
        watching.cancel()
        return keys.find(b"second") is not None

    assert asyncio.run(watched())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_owner_has_so_many_requests_in_flight(path: Path) -> None:
    path.write_text("first name=alice in_flight=2\nsecond name=alice in_flight=2\nfree\n")
    keys = ApiKeys(path)
    first, second, free = (keys.find(key) for key in (b"first", b"second", b"free"))
    assert first is not None
    assert second is not None
    assert free is not None
    with keys.use(first), keys.use(second):
        with pytest.raises(KeyLimitError) as raised, keys.use(first):
            pass
        with keys.use(free):
            pass
    assert (raised.value.limit, raised.value.actual) == (2, 2)
    with keys.use(first):
        pass


def test_an_owner_sends_so_many_requests_a_minute(path: Path) -> None:
    clock = Clock()
    keys = ApiKeys(path, clock=clock)
    key = keys.find(b"first")
    assert key is not None
    for _ in range(3):
        with keys.use(key):
            clock.now += 10
    with pytest.raises(KeyLimitError) as raised, keys.use(key):
        pass
    assert raised.value.headers["Retry-After"] == "30"
    clock.now += 30
    with keys.use(key):
        pass
    with pytest.raises(KeyLimitError), keys.use(key):
        pass


def test_limits_that_change_hold_for_what_was_counted_before(path: Path) -> None:
    async def reloaded() -> None:
        clock = Clock()
        keys = ApiKeys(path, clock=clock)
        for _ in range(3):
            with keys.use(keys.find(b"first")):  # type: ignore[arg-type]
                clock.now += 1
        path.write_text("new name=alice per_minute=2\n")
        await keys.reload()
        key = keys.find(b"new")
        assert key is not None
        with pytest.raises(KeyLimitError) as raised, keys.use(key):
            pass
        assert raised.value.headers["Retry-After"] == "58"

    asyncio.run(reloaded())


def test_what_is_in_flight_while_keys_are_reloaded_still_counts(path: Path) -> None:
    async def reloaded() -> None:
        path.write_text("first name=alice in_flight=1\n")
        keys = ApiKeys(path)
        key = keys.find(b"first")
        assert key is not None
        with keys.use(key):
            path.write_text("new name=alice in_flight=1\n")
            await keys.reload()
            new = keys.find(b"new")
            assert new is not None
            with pytest.raises(KeyLimitError), keys.use(new):
                pass
        with keys.use(new):
            pass

    asyncio.run(reloaded())


def test_limits_are_answered_429_and_hold_for_work_alone(open_app: Opened, path: Path, video: bytes) -> None:
    client = open_app(api_keys_file=path)
    headers = {"authorization": "Bearer first"}
    assert [client.post("/encode", content=video, headers=headers).status_code for _ in range(3)] == [200] * 3
    refused = client.post("/encode", content=video, headers=headers)
    assert (refused.status_code, refused.json()["code"], refused.json()["limit"]) == (429, "key_limit", 3)
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert status(client, "first") == 200


def test_logs_and_metrics_have_the_name_and_never_the_key(open_app: Opened, path: Path) -> None:
    path.write_text("s3cret name=alice\nother-s3cret\n")
    client = open_app(api_keys_file=path)
    with structlog.testing.capture_logs() as logged:
        for key in ("s3cret", "s3cret", "other-s3cret", "wrong-s3cret"):
            status(client, key)
    names = [line.get("key_name") for line in logged if line["event"] == "request"]
    assert names == ["alice", "alice", "unnamed", None]
    page = client.get("/metrics").text
    assert 'cvivit_key_requests_total{name="alice",status="200"} 2.0' in page
    assert 'cvivit_key_requests_total{name="unnamed",status="200"} 1.0' in page
    assert "s3cret" not in page + str(logged)
