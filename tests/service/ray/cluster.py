"""A program that serves the application on a small Ray cluster on this machine. Tests start and end it.

    python -m tests.service.ray.cluster PORT KEY=VALUE...

It prints a line once the application runs, and shuts Ray down when its standard input ends, which also
happens if the tests are killed.
"""

from __future__ import annotations

import sys

import ray
from ray import serve

from service.ray.app import app

OBJECT_STORE_BYTES = 100_000_000
CORES = 2
"""How many cores Ray may use. It starts a worker for each, whether it is needed or not."""
ATTEMPTS = 4


def start_ray() -> None:
    """Start Ray, and try again if that fails.

    Ray waits half a minute for its processes, which is too little on a busy machine.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            ray.init(
                num_cpus=CORES,
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
            )
        except Exception:
            ray.shutdown()
            if attempt == ATTEMPTS:
                raise
        else:
            return


def main(port: int, arguments: dict[str, str]) -> None:
    """Serve until standard input ends."""
    built = app(arguments)
    start_ray()
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
