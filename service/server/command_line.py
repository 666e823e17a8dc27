"""The flags of the command, which are the settings, and what the command does with them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import CliApp, CliImplicitFlag, SettingsConfigDict

from cvivit.errors import CViViTError
from service.environment import unknown_variables
from service.server.machine import prepare_machine
from service.server.sizes import limit_library_threads
from service.settings import Settings

SCRIPT = "cvivit-service"
"""Name under which the command is installed, besides `python -m service`."""


class CommandLine(Settings):
    """Serve C-ViViT over HTTP. Each flag has an environment variable: --max-clips is CVIVIT_MAX_CLIPS."""

    model_config = SettingsConfigDict(
        cli_prog_name=SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m service",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
    )

    check: CliImplicitFlag[bool] = Field(
        default=False,
        description="Load the model, warm up, encode one clip and exit with 0 if all of it works.",
    )


def run(arguments: list[str]) -> int:
    """Serve, or check this machine, as `arguments` say. Returns the exit code.

    A setting or a model that does not work is reported as one line on standard error.
    """
    limit_library_threads()
    try:
        settings = CliApp.run(CommandLine, cli_args=arguments)
        prepare_machine(settings)
        return _check(settings) if settings.check else _serve(settings)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        return _fail(f"{place}: {message}" if place else message)
    except (CViViTError, ValueError) as error:
        return _fail(str(error))


def _serve(settings: Settings) -> int:
    from service.app import create_app
    from service.server.run import Server
    from service.telemetry.logs import configure_logs

    configure_logs(settings.log_level)
    server = Server(create_app(settings, in_background=True), settings)
    server.warn_of_variables(unknown_variables(os.environ, Settings.model_fields))
    server.run()
    if server.app_state.failure is not None:
        raise server.app_state.failure
    return server.exit_code


def _check(settings: Settings) -> int:
    from service.server.self_check import check

    for unknown in unknown_variables(os.environ, Settings.model_fields):
        print(f"warning: {unknown}", file=sys.stderr)
    print(check(settings))
    return 0


def _fail(message: str) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return 1
