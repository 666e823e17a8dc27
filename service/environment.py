"""Tell the environment variables that are settings from those that only look like settings."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

PREFIX = "CVIVIT_"

LEAST_LIKENESS = 0.7
"""Of a misspelt name to the setting that is offered for it: the share of letters that both have, in order."""

LINK_ADDRESS = re.compile(r"(tcp|udp|sctp)://\S+", re.IGNORECASE)
"""What Kubernetes writes into `<SERVICE>_PORT`: an address such as `tcp://10.96.0.7:80`, not a number."""

LINK_HOST = "_SERVICE_HOST"
LINK_PARTS = re.compile(r"_SERVICE_(HOST|PORT(_\w+)?)|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?")


@dataclass(frozen=True, kw_only=True)
class UnknownVariable:
    """A variable with our prefix that is no setting, and the setting whose name is most like it, if any."""

    name: str
    nearest: str | None

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest}?" if self.nearest else ""
        return f"the environment variable {self.name} is not a setting{hint}"


def setting_values(environment: Mapping[str, str | None]) -> dict[str, str | None]:
    """Return the environment variables that set something, by lower-case name.

    An empty variable, or one of blanks, is unset. The variables by which Kubernetes tells a pod of a Service
    that is called `cvivit` are left out. `PORT`, which Cloud Run and Heroku set, stands for `CVIVIT_PORT`
    where that is unset.
    """
    links = service_links(environment)
    values: dict[str, str | None] = {
        name.lower(): value
        for name, value in environment.items()
        if value is not None and value.strip() and name.upper() not in links
    }
    own_port = f"{PREFIX}PORT".lower()
    if "port" in values:
        values.setdefault(own_port, values["port"])
    return values


def service_links(environment: Mapping[str, str | None]) -> set[str]:
    """Return the names, in upper case, of variables by which Kubernetes describes Services to a pod.

    For a Service `cvivit` these are CVIVIT_SERVICE_HOST, CVIVIT_SERVICE_PORT, CVIVIT_PORT (an address),
    CVIVIT_PORT_80_TCP and more. For a Service `cvivit-x` they begin with CVIVIT_X_ instead.
    """
    values = {name.upper(): value or "" for name, value in environment.items()}
    services = {name.removesuffix(LINK_HOST) for name in values if name.endswith(LINK_HOST)}
    links = set()
    for name, value in values.items():
        if not name.startswith(PREFIX):
            continue
        part_of = (name.removeprefix(service) for service in services if name.startswith(service))
        if any(LINK_PARTS.fullmatch(part) for part in part_of):
            links.add(name)
        elif name.endswith("_PORT") and LINK_ADDRESS.fullmatch(value.strip()):
            # CVIVIT_PORT is a setting as well: only its value tells which of the two it is.
            links.add(name)
    return links


def unknown_variables(environment: Mapping[str, str], settings: Collection[str]) -> list[UnknownVariable]:
    """Return the variables with our prefix that set nothing, in alphabetical order.

    Args:
        environment: the environment variables of the process.
        settings: names of the settings, in lower case and without the prefix.
    """
    known = {name.upper() for name in settings}
    names = {name for name in environment if name.upper().startswith(PREFIX)}
    links = service_links(environment)
    unknown = []
    for name in sorted(names):
        wanted = name.upper().removeprefix(PREFIX)
        if wanted not in known and name.upper() not in links:
            nearest = get_close_matches(wanted, known, 1, LEAST_LIKENESS)
            unknown.append(UnknownVariable(name=name, nearest=f"{PREFIX}{nearest[0]}" if nearest else None))
    return unknown
