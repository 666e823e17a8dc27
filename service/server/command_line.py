"""The flags of the command, which are the settings, and what the command does with them."""

from __future__ import annotations

import os
import sys
from difflib import get_close_matches
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import CliApp, CliImplicitFlag, SettingsConfigDict, SettingsError

from cvivit.errors import CViViTError, DeviceChoiceError
from service.environment import LEAST_LIKENESS, PREFIX, unknown_variables
from service.server.machine import prepare_machine
from service.server.sizes import limit_library_threads
from service.server.startup import ignore_signals
from service.settings import Settings

SCRIPT = "cvivit-service"
"""Name under which the command is installed, besides `python -m service`."""
USAGE = 2
"""Exit code for a mistake in the arguments."""
SHOWN = 60
"""Letters of a wrong value that a message shows."""


class CommandLine(Settings):
    """Serve C-ViViT over HTTP. Each flag has an environment variable: --max-clips is CVIVIT_MAX_CLIPS."""

    model_config = SettingsConfigDict(
        cli_prog_name=SCRIPT if Path(sys.argv[0]).name == SCRIPT else "python -m service",
        cli_kebab_case=True,
        cli_avoid_json=True,
        cli_hide_none_type=True,
        cli_exit_on_error=False,
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
        return _fail(_described(error.errors()[0]))
    except SettingsError as error:  # of the arguments themselves
        return _fail(_usage(str(error)), code=USAGE)
    except DeviceChoiceError as error:  # torch knows no such device here
        return _fail(f"device is {settings.device!r:.{SHOWN}} ({_names('device')}): {error}")
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
    ignore_signals()
    if server.app_state.failure is not None:
        raise server.app_state.failure
    return server.exit_code


def _check(settings: Settings) -> int:
    from service.server.self_check import check

    for unknown in unknown_variables(os.environ, Settings.model_fields):
        print(f"warning: {unknown}", file=sys.stderr)
    print(check(settings))
    return 0


def _described(error: ErrorDetails) -> str:
    """Return which setting is wrong, by both of its names, its value, and what was expected."""
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "it should")
    message = message.partition(", unable to ")[0]  # that the text could not be parsed is said already
    if not error["loc"]:
        return message
    place, given = str(error["loc"][0]), error.get("input")
    if place not in CommandLine.model_fields or not isinstance(given, str | int | float):
        return f"{place}: {message}"
    return f"{place} is {given!r:.{SHOWN}} ({_names(place)}): {message}"


def _usage(error: str) -> str:
    """Return what is wrong with the arguments, and the flag that is most like an unknown one."""
    message = error.removeprefix("error parsing CLI: ")
    flags = [_flag(name) for name in CommandLine.model_fields]
    unknown = next((word for word in message.split() if word.startswith("--")), "").partition("=")[0]
    nearest = get_close_matches(unknown, flags, 1, LEAST_LIKENESS) if "unrecognized" in message else []
    hint = f"; did you mean {nearest[0]}?" if nearest else ""
    return f"{message}{hint} (--help lists all flags)"


def _names(setting: str) -> str:
    return f"{_flag(setting)} or {PREFIX}{setting.upper()}"


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _fail(message: str, *, code: int = 1) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    return code
