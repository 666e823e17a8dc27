"""The command `python -m service`, also installed as `cvivit-service`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cvivit.starting import open_missing_streams
from service.server.startup import choose_how_threads_wait, end_quietly_on_signals


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: the arguments after the command's name; from `sys.argv` if None.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    open_missing_streams()
    choose_how_threads_wait()
    if words[:1] == ["bench"]:
        from service.bench import main as bench

        return bench(words[1:])
    end_quietly_on_signals()
    # Imported here, because the calls above have to come before anything that takes long to import.
    from service.server.command_line import run

    return run(words)


if __name__ == "__main__":
    sys.exit(main())
