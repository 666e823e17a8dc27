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
CORES = 2
"""That Ray counts. It starts a worker for each, needed or not."""
ATTEMPTS = 4


def start_ray() -> None:
    """Start Ray. It gives its processes half a minute, too little on a busy machine, so this tries again."""
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
