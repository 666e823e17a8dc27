"""Where the server listens: every address, a Unix socket, and with a certificate."""

import contextlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cvivit.errors import ConfigError
from service.server.listening import close_listeners, open_listeners, tls_context
from service.settings import Settings

Serve = Callable[..., Any]
Eventually = Callable[[Callable[[], bool]], None]

GET = b"GET /livez HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


def certificate(folder: Path, name: str = "one") -> tuple[Path, Path]:
    """A certificate that is its own authority, and its key."""
    made = folder / f"{name}.pem", folder / f"{name}.key"
    subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command = ["openssl", "req", *options, *subject, "-out", str(made[0]), "-keyout", str(made[1])]
    subprocess.run(command, check=True, capture_output=True)
    return made


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def over_unix(path: Path, request: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(60)
        connection.connect(str(path))
        connection.sendall(request)
        return read_all(connection)


def over_tls(port: int, request: bytes, authority: Path) -> bytes:
    context = ssl.create_default_context(cafile=str(authority))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
    ):
        connection.sendall(request)
        return read_all(connection)


def test_every_address_is_ipv6_and_ipv4(serve: Serve) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    server = serve(host="::")
    for host in ("::1", "127.0.0.1"):
        connection = http.client.HTTPConnection(host, server.port, timeout=60)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_machine_without_ipv6_is_served_by_ipv4(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    assert serve(host="::").get("/livez")[0] == 200


def test_a_name_is_served_on_all_its_addresses_with_one_port(serve: Serve) -> None:
    server = serve(host="localhost")
    addresses = [sock.getsockname() for sock in server.server._listeners]
    assert {address[1] for address in addresses} == {server.port}
    for address in addresses:
        with socket.create_connection(address[:2], timeout=60) as connection:
            connection.sendall(GET)
            assert b" 200 " in connection.recv(100)


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_an_address_that_is_not_here_is_an_error(host: str) -> None:
    with pytest.raises(ConfigError, match=rf"host: cannot listen on {host}, port 0: "):
        open_listeners(Settings(host=host, port=0))


def test_a_unix_socket_is_served_and_removed(serve: Serve, tmp_path: Path, video: bytes) -> None:
    path = tmp_path / "socket"
    server = serve(uds=path)
    assert b" 200 OK\r\n" in over_unix(path, GET)
    head = b"POST /encode HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(video)
    assert b" 200 OK\r\n" in over_unix(path, head + video)
    assert path.stat().st_mode & 0o777 == 0o666
    server.server.handle_exit(signal.SIGTERM, None)
    server.thread.join(60)
    assert not path.exists()


def test_a_unix_socket_that_was_left_behind_is_taken(tmp_path: Path, serve: Serve) -> None:
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    serve(uds=path)
    assert b" 200 OK\r\n" in over_unix(path, GET)


def test_a_unix_socket_in_use_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(ConfigError, match=r"uds: cannot listen on .*: another process listens on it"):
            open_listeners(Settings(uds=path))
        assert path.is_socket()


@pytest.mark.parametrize("place", ["file", "missing/socket", "x" * 200])
def test_a_path_for_no_socket_is_an_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ConfigError, match="uds: cannot listen on "):
        open_listeners(Settings(uds=tmp_path / place))
    assert (tmp_path / "file").read_text() == "mine"


def test_a_socket_that_another_process_has_taken_over_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    ours = open_listeners(Settings(uds=path))
    path.unlink()
    theirs = open_listeners(Settings(uds=path))
    close_listeners(ours)
    assert path.is_socket()
    close_listeners(theirs)
    assert not path.exists()


@pytest.mark.parametrize("together", [False, True])
def test_a_certificate_makes_it_https(serve: Serve, tmp_path: Path, together: bool) -> None:
    public, key = certificate(tmp_path)
    if together:
        public.write_text(public.read_text() + key.read_text())
    server = serve(tls_certificate=public, tls_key=None if together else key)
    assert b" 200 OK\r\n" in over_tls(server.port, GET, public)
    big = GET.replace(b"/livez", b"/docs/swagger-ui-bundle.js")
    assert len(over_tls(server.port, big, public)) > 10**6


def test_a_client_that_never_shakes_hands_is_cut_off(serve: Serve, tmp_path: Path) -> None:
    public, key = certificate(tmp_path)
    server = serve(tls_certificate=public, tls_key=key, header_seconds=0.3)
    with server.connect() as connection, contextlib.suppress(ConnectionResetError):
        assert connection.recv(100) == b""


def test_a_certificate_is_reloaded_and_a_bad_one_is_not(
    serve: Serve, tmp_path: Path, eventually: Eventually
) -> None:
    public, key = certificate(tmp_path)
    server = serve(tls_certificate=public, tls_key=key)
    renewed, renewed_key = certificate(tmp_path, "two")
    old = tmp_path / "old.pem"
    old.write_bytes(public.read_bytes())
    public.write_bytes(renewed.read_bytes())  # without its key
    server.server.handle_reload()
    assert b" 200 OK\r\n" in over_tls(server.port, GET, old)
    os.replace(renewed_key, key)
    server.server.handle_reload()

    def renews() -> bool:
        try:
            return b" 200 OK\r\n" in over_tls(server.port, GET, renewed)
        except ssl.SSLError:
            return False

    eventually(renews)


@pytest.mark.parametrize("fault", ["missing", "no certificate", "another key", "encrypted"])
def test_a_certificate_that_does_not_serve_is_an_error(tmp_path: Path, fault: str) -> None:
    public, key = certificate(tmp_path)
    if fault == "missing":
        public = tmp_path / "missing"
    elif fault == "no certificate":
        public.write_text("nothing")
    elif fault == "another key":
        _, key = certificate(tmp_path, "two")
    else:
        command = ["openssl", "ec", "-aes256", "-passout", "pass:x", "-in", str(key), "-out", str(key)]
        subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(ConfigError, match="tls_certificate: "):
        tls_context(Settings(tls_certificate=public, tls_key=key))
