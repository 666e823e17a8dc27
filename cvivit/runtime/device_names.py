"""What may be the name of a device. It imports no torch, so that a wrong name is found at once."""

from __future__ import annotations

import re
from typing import Final

from cvivit.errors import DeviceChoiceError

_NAME: Final = re.compile(r"auto|(cpu|cuda)(:\d+)?")


def check_device_name(name: str) -> str:
    """Return the name of a device. Whether there is such a device here, only torch knows.

    Raises:
        DeviceChoiceError: (a ValueError) no device has such a name.
    """
    if not _NAME.fullmatch(name):
        raise DeviceChoiceError(f"{name!r} is not a device: try auto, cpu, cuda or cuda:1")
    return name
