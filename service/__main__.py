"""`python -m service`: serve; with `--check` prove that this machine could; with `bench` measure it."""

from __future__ import annotations

import signal
import sys

from pydantic import Field, ValidationError
from pydantic_settings import CliApp, CliImplicitFlag, SettingsConfigDict

from cvivit.errors import CViViTError
from service.server.machine import prepare_machine
from service.server.sizes import limit_library_threads
from service.settings import Settings


class CommandLine(Settings):
    """Serve C-ViViT over HTTP. Each flag has an environment variable: --max-clips is CVIVIT_MAX_CLIPS."""

    model_config = SettingsConfigDict(
        cli_prog_name="python -m service", cli_kebab_case=True, cli_avoid_json=True, cli_hide_none_type=True
    )

    check: CliImplicitFlag[bool] = Field(
        default=False, description="Load, warm up, encode one clip and exit: 0 where all of it works."
    )


def main(arguments: list[str]) -> int:
    """Run the command with `arguments` and return its exit code."""
    if arguments[:1] == ["bench"]:
        from service.bench import main as bench

        return bench(arguments[1:])
    limit_library_threads()
    try:
        settings = CliApp.run(CommandLine, cli_args=arguments)
        prepare_machine(settings)
        return _check(settings) if settings.check else _serve(settings)
    except ValidationError as error:
        first = error.errors()[0]
        return _fail(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}")
    except (CViViTError, ValueError) as error:
        return _fail(str(error))


def _serve(settings: Settings) -> int:
    # What follows takes seconds to import. As process 1 of a container nothing else would end it meanwhile.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    from service.app import create_app
    from service.server.run import Server
    from service.telemetry.logs import configure_logs

    configure_logs(settings.log_level)
    server = Server(create_app(settings, in_background=True), settings)
    server.run()
    if server.app_state.failure is not None:
        raise server.app_state.failure
    return server.exit_code


def _check(settings: Settings) -> int:
    from service.server.self_check import check

    print(check(settings))
    return 0


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
