"""The file of keys: what it may hold, and the errors for everything else."""

from pathlib import Path

import pytest

from cvivit.errors import ConfigError
from service.middleware.key_file import digest_of, read_key_file


def write(folder: Path, content: str | bytes) -> Path:
    path = folder / "keys"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        "the-key",
        "the-key\n",
        "\ufeffthe-key\r\n",
        "\r\n\t the-key \t\r\n\r\n",
        "the-key # of the spring\n",
        "the-key\t# of the spring\r\n",
        "# clients\n\n  the-key\n#other\n  # another\n",
        "the-key\r",
        "the-key\nthe-key\n",
    ],
)
def test_files_of_all_editors_hold_the_same_key(tmp_path: Path, content: str) -> None:
    assert set(read_key_file(write(tmp_path, content))) == {digest_of(b"the-key")}


def test_a_hash_within_a_key_is_part_of_it(tmp_path: Path) -> None:
    assert set(read_key_file(write(tmp_path, "a#b #c\n"))) == {digest_of(b"a#b")}


def test_a_key_has_a_name_and_limits(tmp_path: Path) -> None:
    content = "one== name=alice in_flight=4 per_minute=120 # rotates\ntwo per_minute=3\nthree\n"
    keys = read_key_file(write(tmp_path, content))
    alice = keys[digest_of(b"one==")]
    assert (alice.name, alice.shown, alice.in_flight, alice.per_minute) == ("alice", "alice", 4, 120)
    two = keys[digest_of(b"two")]
    assert (two.name, two.shown, two.in_flight, two.per_minute) == (None, "unnamed", None, 3)
    assert two.owner != keys[digest_of(b"three")].owner


def test_keys_of_one_name_have_one_owner(tmp_path: Path) -> None:
    """This lets an operator replace a key while the old one still works."""
    keys = read_key_file(write(tmp_path, "old name=alice in_flight=1\nnew name=alice in_flight=1\n"))
    assert len(keys) == 2
    assert len({key.owner for key in keys.values()}) == 1


@pytest.mark.parametrize(
    "content", [b"", b" \r\n\t\n", b"# only a comment\n", b"\xef\xbb\xbf", b"\xff\xfe", None]
)
def test_a_file_without_keys_is_an_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match="api_keys_file: "):
        read_key_file(path)


@pytest.mark.parametrize(
    "line",
    [
        "s3cret more",
        "s3cret role=admin",
        "s3cret name=",
        "s3cret name=a/b",
        "s3cret name=" + "x" * 65,
        "s3cret in_flight=0",
        "s3cret in_flight=-1",
        "s3cret in_flight=4.5",
        "s3cret per_minute=many",
        "s3cret per_minute=10000000000",
        "s3cret name=a name=a",
        "s3cret name=a\ns3cret name=b",
        "s3cret name=a in_flight=1\nother name=a in_flight=2",
    ],
)
def test_a_line_that_is_not_understood_is_an_error_that_tells_no_key(tmp_path: Path, line: str) -> None:
    with pytest.raises(ConfigError, match=r"line [23]: ") as raised:
        read_key_file(write(tmp_path, f"first\n{line}\n"))
    assert "s3cret" not in str(raised.value)
