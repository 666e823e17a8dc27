"""A small Ray on this machine that serves the application: the program that tests run and end.

    python -m tests.service.ray.cluster PORT KEY=VALUE...

It prints a line once the application runs, and shuts Ray down when its standard input ends, also because the
tests were killed.
"""

from __future__ import annotations

import sys

import ray
from ray import serve

from service.ray.app import app

OBJECT_STORE_BYTES = 100_000_000


def main(port: int, arguments: dict[str, str]) -> None:
    """Serve until standard input ends."""
    built = app(arguments)
    # The cores are only counted, not used: Serve's own actors and all replicas fit.
    ray.init(num_cpus=8, object_store_memory=OBJECT_STORE_BYTES, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    try:
        serve.run(built, name="cvivit", route_prefix="/")
        sys.stdout.write("serving\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), dict(argument.split("=", 1) for argument in sys.argv[2:]))
