"""Real proxies in front of a server: nginx and HAProxy, each in a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 60.0

NGINX = """
{user}worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
  access_log off;
  client_max_body_size 100m;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream service {{ server {upstream}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    {locations}
  }}
}}
"""

HAPROXY = """
global
  maxconn 128
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port}
  {rules}
  default_backend service
backend service
  http-reuse always
  option httpchk GET /health
  server one {upstream} check inter 1s fall 20
"""


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def missing(program: str) -> bool:
    return shutil.which(program) is None


@contextmanager
def nginx(folder: Path, upstream: str, locations: str) -> Iterator[int]:
    """Run nginx in front of `upstream`, and yield its port. `locations` may call it `http://service`."""
    port = free_port()
    config = folder / "nginx.conf"
    # If root starts nginx, its workers run as the user "nobody", who may not enter the folders of a test.
    user = "user root;\n" if os.geteuid() == 0 else ""
    config.write_text(
        NGINX.format(user=user, folder=folder, upstream=upstream, port=port, locations=locations)
    )
    with _running(["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(config)], port):
        yield port


@contextmanager
def haproxy(folder: Path, upstream: str, rules: str = "") -> Iterator[int]:
    """Run HAProxy in front of `upstream`, and yield its port."""
    port = free_port()
    config = folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(upstream=upstream, port=port, rules=rules))
    with _running(["haproxy", "-db", "-f", str(config)], port):
        yield port


@contextmanager
def _running(command: Sequence[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not _listens(port):
            assert process.poll() is None, f"{command[0]} has ended"
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
